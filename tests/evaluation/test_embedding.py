import numpy as np

from faceveil.evaluation.embedding import embed, seed_networks, teach, tower

SIDE = 16


def patterns(numbers: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Noisy pictures of patterns, by their numbers."""
    clean = np.random.default_rng(1).standard_normal((40, SIDE, SIDE, 1))
    noise = random.standard_normal((len(numbers), SIDE, SIDE, 1))
    return np.asarray(clean[numbers] + noise, np.float32)


def test_a_network_learns_what_belongs_together_and_the_same_every_time() -> None:
    def draw(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        chosen = random.permutation(40)
        return patterns(chosen, random), patterns(chosen, random)

    embedded = []
    for _ in range(2):
        seed_networks()
        network = tower(SIDE, 1)
        teach((network, network), draw, 40)
        random = np.random.default_rng(2)
        one, other = (embed(network, patterns(np.arange(40), random)) for _ in range(2))
        np.testing.assert_allclose(np.linalg.norm(one, axis=1), 1, atol=1e-5)
        assert ((one @ other.T).argmax(axis=1) == np.arange(40)).mean() > 0.9
        embedded.append(one)
    np.testing.assert_allclose(embedded[0], embedded[1], atol=1e-4)
