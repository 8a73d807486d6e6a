"""What a Flex Template's launcher runs: `faceveil run` with the template's parameters.

Without the parameter `config` the dataflow.yaml beside this file is the configuration.
"""

import sys
from pathlib import Path

from faceveil.pipeline.supervise import main

if __name__ == "__main__":
    given = sys.argv[1:]
    if not any(parameter.startswith("--config") for parameter in given):
        given = [f"--config={Path(__file__).with_name('dataflow.yaml')}", *given]
    sys.argv[1:] = ["run", *given]
    sys.exit(main())
