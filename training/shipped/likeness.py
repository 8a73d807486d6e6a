"""Measures what anonymized faces tell of the true ones, and how much they look like faces.

Example usage::

    python -m faceveil.training.shipped.likeness --portraits portraits

**Unlinkability** is measured with matchers, trained for each way to anonymize on portraits that the generator was
trained on, and tried on those held out.

* Which face was there? Another face goes into the place of a portrait's own, drawn by lot from five that would fit.
  The matcher is shown the picture, anonymized, with the keypoints, and two of the five, and has to say which one was
  there. All else would be the same with any of them: surroundings, light, pose and keypoints.
* Whose face was it? The matcher chooses between a face's own portrait and another one: any other, and one that is alike
  in what stays public whatever is done to the face, its keypoints and surroundings. It sees the middle of the face in
  grey, and nothing of the mask's edge: skin and light go on outside the mask. Beside it stand what it achieves with the
  keypoints alone, which the generator is given, and with nothing to go by. Last come matchers that see the whole crop
  and the keypoints, with the face cut out and with what was made of it: their difference is what an anonymized face
  tells beyond what the generator is given.

**Fréchet distance** (Heusel et al., https://arxiv.org/abs/1706.08500) over the features of a network that was trained
here to recognise portraits in other light, position and sharpness. It is no Inception network: compare its figures
with each other only.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import keras
import numpy as np
from numpy.typing import NDArray

from faceveil.evaluation.embedding import teach, tower
from faceveil.training.shipped.crops import Crops, draw_crops
from faceveil.training.shipped.exchange import exchanged
from faceveil.training.shipped.matchers import (
    BATCH,
    WHOLE_SIDE,
    Floats,
    Matcher,
    match,
    middles,
    spots,
    wholes,
    with_error,
    with_spots,
)
from faceveil.training.shipped.portraits import Portraits, load_portraits
from faceveil.transforms.anonymizers.geometry import MaskGeometry
from faceveil.transforms.anonymizers.methods import METHODS
from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.faces import Faces
from faceveil.transforms.generators.embedded import embedded_generator
from faceveil.transforms.generators.engine import GeneratorModel, Requests, load_generator
from faceveil.transforms.generators.network import SIZE

_TAUGHT = 4000
"""Portraits that the matchers are trained on."""

_ALIKE = 5
"""Portraits that each is compared with because they are alike; they are among those that no matcher is trained on."""


def synthesized(engine: GeneratorModel, crops: Crops, random: np.random.Generator, *, keypoints: bool = True) -> Floats:
    """The crops with new faces, before their colours are matched."""
    known = crops.images * (1 - crops.unknown)
    points = crops.keypoints if keypoints else np.full_like(crops.keypoints, np.nan)
    z = random.standard_normal((len(known), engine.sizes.random)).astype(np.float32)
    requests = Requests(known, crops.unknown, points, z)
    drawn = np.concatenate([engine.run(requests.part(i, i + 64)) for i in range(0, len(known), 64)])
    faces: Floats = known + crops.faces * drawn
    return faces


def masked(crops: Crops, method: str, strength: float) -> Floats:
    """The crops with their faces anonymized by another method, with the same mask."""
    whole = Faces(np.array([[0, 0, SIZE, SIZE]], np.float32), np.ones(1, np.float32))
    style = Style(MaskGeometry(margin=0, shape="box"), strength)
    images = []
    for image, face in zip(crops.images, crops.faces[..., 0] > 0, strict=True):
        rows, columns = (slice(places.min(), places.max() + 1) for places in np.nonzero(face))
        box = np.array([[columns.start, rows.start, columns.stop, rows.stop]], np.float32)
        values = np.round((image + 1) * 127.5).astype(np.uint8)
        images.append(METHODS[method](values, Faces(box, whole.scores), style, (0, 0, 0)) / np.float32(127.5) - 1)
    return np.stack(images).astype(np.float32)


def public_features(crops: Crops) -> Floats:
    """What can be seen whatever is done to the face, as ``[N, D]`` numbers of deviation 1.

    Keypoints and surroundings count alike: the ten coordinates, and ten principal components of the surroundings.
    """
    around = (crops.images * (1 - crops.faces)).mean(axis=3)
    small = np.stack([cv2.resize(image, (8, 8), interpolation=cv2.INTER_AREA).ravel() for image in around])
    small -= small.mean(axis=0)
    _, _, directions = np.linalg.svd(small, full_matrices=False)
    points = crops.keypoints.reshape(len(small), -1)
    parts = [part / part.std(axis=0) for part in (points, small @ directions[: points.shape[1]].T)]
    features: Floats = np.hstack(parts).astype(np.float32)
    return features


def frechet(first: Floats, second: Floats) -> float:
    """The Fréchet distance of two normal distributions with the means and covariances of the features ``[N, D]``."""
    covariances = [np.cov(features.astype(np.float64), rowvar=False) for features in (first, second)]
    # The trace of a root is the sum of the roots of the eigenvalues; those of a product of covariances are 0 or more.
    roots = np.sqrt(np.maximum(np.linalg.eigvals(covariances[0] @ covariances[1]).real, 0))
    apart = first.mean(axis=0) - second.mean(axis=0)
    return float(apart @ apart + np.trace(covariances[0] + covariances[1]) - 2 * roots.sum())


def feature_network(portraits: Portraits, steps: int) -> keras.Model:
    """Teaches a network to recognise a portrait in other light, position and sharpness."""
    keras.utils.set_random_seed(0)
    network = tower(WHOLE_SIDE, 3)

    def draw(random: np.random.Generator) -> tuple[Floats, Floats]:
        chosen = random.choice(len(portraits.images), BATCH, replace=False)
        some = Portraits(*(array[np.sort(chosen)] for array in vars(portraits).values()))
        seen = [wholes(draw_crops(some, SIZE, BATCH, random, in_order=True).images) for _ in range(2)]
        return seen[0], seen[1]

    teach((network, network), draw, steps)
    return network


@dataclass(frozen=True)
class Material:
    """What the measures are made on.

    Attributes:
        taught: crops to train matchers on.
        tried: those of portraits held out.
        others: crops that no matcher is trained on; the generator was.
        alike: int ``[N, _ALIKE]``: for each crop tried, which of the others are like it in what is public.
        engine: runs the generator.
        steps: of each training.
    """

    taught: Crops
    tried: Crops
    others: Crops
    alike: NDArray[np.intp]
    engine: GeneratorModel
    steps: int


def _prepared(portraits: Portraits, engine: GeneratorModel, steps: int) -> Material:
    random = np.random.default_rng(0)
    known, held_out = portraits.only(~portraits.held_out), portraits.only(portraits.held_out)
    drawn = draw_crops(known, SIZE, len(known.images), random, plain=True)
    taught, others = _some(drawn, slice(0, _TAUGHT)), _some(drawn, slice(_TAUGHT, None))
    tried = draw_crops(held_out, SIZE, len(held_out.images), random, plain=True)
    both = Crops(*(np.concatenate(arrays) for arrays in zip(vars(tried).values(), vars(others).values(), strict=True)))
    public = public_features(both)
    apart = np.linalg.norm(public[: len(tried.images), np.newaxis] - public[len(tried.images) :], axis=2)
    return Material(taught, tried, others, np.argsort(apart, axis=1)[:, :_ALIKE], engine, steps)


def _some(crops: Crops, which: slice | NDArray[np.intp]) -> Crops:
    return Crops(*(array[which] for array in vars(crops).values()))


def print_whose(material: Material) -> None:
    """How often matchers know which of two faces was in a picture."""
    random = np.random.default_rng(1)
    taught, others = material.taught, material.others
    taught_faces = _some(taught, random.permutation(_TAUGHT))
    # By lot, since the one that is most like the place must not be the right one more often than the others.
    lots = random.permuted(material.alike, axis=1)
    faces = _some(others, lots[:, 0])
    taught_pictures, pictures = exchanged(taught, taught_faces), exchanged(material.tried, faces)
    ways: dict[str, Callable[[Crops], Floats]] = {
        "synthesize": lambda crops: synthesized(material.engine, crops, random),
        "pixelate, strength 0.2": lambda crops: masked(crops, "pixelate", 0.2),
        "blur, strength 0.2": lambda crops: masked(crops, "blur", 0.2),
        "blur, strength 0.1": lambda crops: masked(crops, "blur", 0.1),
    }
    print("| | knows which of two faces was there |", flush=True)
    for name, way in ways.items():
        matcher = Matcher(taught_faces.images, with_spots(way(taught_pictures), taught_pictures), material.steps)
        shown = with_spots(way(pictures), pictures)
        right = match(matcher, faces.images, shown, others.images, lots[:, 1:])[1]
        print(f"| {name} | {with_error(right)} |", flush=True)


def print_links(material: Material) -> None:
    """How often matchers find the portrait of an anonymized face."""
    random = np.random.default_rng(0)

    def new(crops: Crops) -> Floats:
        return synthesized(material.engine, crops, random)

    def unseen(crops: Crops) -> Floats:
        return synthesized(material.engine, crops, random, keypoints=False)

    ways: dict[str, Callable[[Crops], Floats]] = {
        "blur, strength 0.1": lambda crops: middles(masked(crops, "blur", 0.1)),
        "blur, strength 0.2": lambda crops: middles(masked(crops, "blur", 0.2)),
        "synthesize": lambda crops: middles(new(crops)),
        "synthesize, no keypoints": lambda crops: middles(unseen(crops)),
        "keypoints alone": lambda crops: middles(spots(crops)),
        "another's face": lambda crops: middles(np.roll(crops.images, 1, axis=0)),
        "surroundings": lambda crops: with_spots(crops.images * (1 - crops.faces), crops, 0),
        "surroundings, keypoints": lambda crops: with_spots(crops.images * (1 - crops.faces), crops),
        "surroundings, keypoints, synthesize": lambda crops: with_spots(new(crops), crops),
        "surroundings, keypoints, blur, strength 0.1": lambda crops: with_spots(masked(crops, "blur", 0.1), crops),
        "surroundings, keypoints, blur, strength 0.2": lambda crops: with_spots(masked(crops, "blur", 0.2), crops),
    }
    taught, tried = material.taught, material.tried
    print("| | right of two | right of two alike | first of all |", flush=True)
    for name, way in ways.items():
        matcher = Matcher(taught.images, way(taught), material.steps)
        of_two, of_alike, first = match(matcher, tried.images, way(tried), material.others.images, material.alike)
        print(f"| {name} | {with_error(of_two)} | {with_error(of_alike)} | {first.mean():.3f} |", flush=True)


def print_distances(material: Material, network: keras.Model) -> None:
    """The Fréchet distances of what is made of the portraits to what they are."""
    random = np.random.default_rng(0)
    taught, tried = material.taught, material.tried
    features = {
        "other portraits": taught.images,
        "synthesize": synthesized(material.engine, tried, random),
        "mean face": tried.images * (1 - tried.faces) + tried.faces * taught.images.mean(axis=0),
        "another's face": tried.images * (1 - tried.faces) + tried.faces * taught.images[: len(tried.images)],
        "blur, strength 0.2": masked(tried, "blur", 0.2),
        "pixelate, strength 0.2": masked(tried, "pixelate", 0.2),
        "solid": masked(tried, "solid", 0.2),
    }
    true = network.predict(wholes(tried.images), verbose=0)
    print("| | Fréchet distance to the true portraits |")
    for name, images in features.items():
        print(f"| {name} | {frechet(true, network.predict(wholes(images), verbose=0)):.2f} |", flush=True)


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--portraits", required=True, metavar="DIR", help="what faceveil.training.shipped.portraits has written"
    )
    parser.add_argument("--generator", metavar="DIR", help="a SavedModel (default: the embedded one)")
    parser.add_argument("--steps", type=int, default=300, metavar="N", help="of each matcher (default: %(default)s)")
    given = parser.parse_args()
    portraits = load_portraits(given.portraits)
    engine = load_generator(given.generator or str(embedded_generator()))
    material = _prepared(portraits, engine, given.steps)
    print(f"{len(material.tried.images)} portraits held out", flush=True)
    print_whose(material)
    print_links(material)
    print_distances(material, feature_network(portraits.only(~portraits.held_out), given.steps))


if __name__ == "__main__":
    main()
