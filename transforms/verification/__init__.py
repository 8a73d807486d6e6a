"""Looking at an output again: what is wrong with a record, which faces lie outside its masks, one shard at a time."""

from typing import Literal

Action = Literal["fix", "drop"]
"""What is done to records with faces outside their masks: these are masked too, or the records taken out."""
