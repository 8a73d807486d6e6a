"""Whether the object stores of a job can be reached and used, before any work and within seconds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions

from faceveil.pipeline.box_options import is_box_file
from faceveil.pipeline.options import JobOptions
from faceveil.transforms import storage
from faceveil.transforms.inputs.globs import listed_prefix
from faceveil.transforms.storage.base import REQUESTS_AT_ONCE


def check_access(options: JobOptions, beam_options: PipelineOptions) -> None:
    """Lists and reads a little of the inputs and models, writes and removes a little where the job will write.

    Paths on disk are left to their readers and writers.

    Raises:
        AccessError: naming the place, what is wrong and what to do.
    """
    FileSystems.set_options(beam_options)
    places = dict.fromkeys(g.pattern if g.is_list else listed_prefix(g.pattern) for g in options.inputs)
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        for _ in pool.map(storage.check_readable, places):
            pass
    for place in (*options.detector.models, *([options.boxes] if options.boxes and is_box_file(options.boxes) else ())):
        storage.check_readable(place)
    cloud = beam_options.view_as(GoogleCloudOptions)
    for folder in dict.fromkeys([options.output, cloud.temp_location, cloud.staging_location]):
        if folder:
            storage.check_writable(folder)
