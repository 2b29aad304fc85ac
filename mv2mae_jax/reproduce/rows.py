"""What is run, what is compared, and what the paper says about it (docs/reproduction.md).

A row is a pre-training, or none, and a fine-tuning. All rows of a protocol take as many steps of
each, but for one that learns nothing before it is fine-tuned. `GROUPS` has them in the order in
which they are run: what the paper claims first, first.
"""

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Overrides = Mapping[str, Any]  # of fields of configs/reproduction.py
# Top-1 of the classifier by one clip, all clips, or all views together; of the ridge classifier on
# frozen tokens.
Metric = Literal["single_clip", "single_view", "multi_view", "token_probe"]


@dataclass(frozen=True)
class Pretraining:
    """A pre-training of configs/reproduction.py.

    Attributes:
      name: of its work directories.
      method: the config's.
      overrides: of its fields.
    """

    name: str
    method: str = "mv2mae"
    overrides: Overrides = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """A classifier: what it starts from, and how it is fine-tuned.

    Attributes:
      name: in tables and files; each occurs once in a protocol.
      protocol: xview or xsub.
      pretraining: None starts from random values.
      finetuning: overrides of the config's fields.
    """

    name: str
    protocol: str
    pretraining: Pretraining | None
    finetuning: Overrides = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """A difference of accuracies: of `row` by `metric`, less that of `other` by `other_metric`.

    Attributes:
      protocol: both rows'.
      row: name of the one row.
      other: of the other.
      paper: what the paper says of it, with its source.
      predicted: the difference's sign, by the paper or as expected; `=` is about the same,
        empty: none.
      metric: of the one.
      other_metric: of the other.
    """

    protocol: str
    row: str
    other: str
    paper: str
    predicted: Literal["+", "=", ""]
    metric: Metric = "single_view"
    other_metric: Metric = "single_view"


METHODS = {
    "VideoMAE": "videomae",
    "random masks": "random_mask",
    "motion weights": "single_view",
    "MV2MAE": "mv2mae",
}
FRACTION = "data.train_fraction"
SCRATCH, VIDEOMAE, RANDOM, MOTION, MV2MAE = "from scratch", *METHODS
UNTRAINED = "initial values"
DEFAULT = Pretraining("mv2mae")
# At a rate of 0 nothing is learnt: the encoder stays as pre-training begins. A classifier from
# scratch begins with other random values, and without standardised features.
OF_NO_STEPS = {"optimizer.base_learning_rate": 0.0, "epochs": 1, "optimizer.warmup_epochs": 0.05}


def folder(name: str) -> str:
    """A name as part of a folder's."""
    return re.sub(r"\W+", "-", name)


def main_rows(protocol: str) -> list[Row]:
    """From scratch, untrained, and the methods from VideoMAE on, each with one thing more."""
    pretrained = [
        Row(name, protocol, Pretraining(method, method)) for name, method in METHODS.items()
    ]
    return [Row(SCRATCH, protocol, None), variant(UNTRAINED, protocol, OF_NO_STEPS), *pretrained]


def variant(name: str, protocol: str, overrides: Overrides) -> Row:
    """A row whose pre-training differs from the default's in some fields."""
    return Row(name, protocol, Pretraining(folder(name), overrides=overrides))


def of_labels(share: float) -> list[Row]:
    """Fine-tuning on a share of the labels, from scratch and pre-trained."""
    return [
        Row(f"{name}, {share:.0%} of labels", "xview", pretraining, {FRACTION: share})
        for name, pretraining in ((SCRATCH, None), (MV2MAE, DEFAULT))
    ]


def of_data(share: float) -> Row:
    """Pre-training on a share of the activities."""
    return variant(f"{share:.0%} of pre-training data", "xview", {FRACTION: share})


GROUPS = {
    "xview": main_rows("xview"),
    "xsub": main_rows("xsub"),
    "temperature": [
        variant(f"temperature {value:g}", "xview", {"objective.temperature": value})
        for value in (math.inf, 32.0, 2.0)
    ],
    "masking": [
        variant(f"mask ratio {value}", "xview", {"masking.ratio": value})
        for value in (0.6, 0.8, 0.9)
    ],
    "labels": [*of_labels(0.25), *of_labels(0.1)],
    "data": [of_data(0.25), of_data(0.5)],
    "sources": [
        variant("two source views", "xsub", {"data.num_views": 3}),
        *(
            variant(
                f"source at {degrees} degrees",
                "xsub",
                {"data.target_view": "2", "data.source_views": (camera,)},
            )
            for degrees, camera in ((45, "1"), (90, "3"))
        ),
    ],
}
ROWS = tuple(itertools.chain.from_iterable(GROUPS.values()))

EXPECTED = "nothing; above is expected"


def main_comparisons(protocol: str, method: str, without: str, decoder: str) -> list[Comparison]:
    """Those of the main rows; what the paper says of three of them differs by the protocol.

    Args:
      protocol: of the rows.
      method: of MV2MAE less VideoMAE.
      without: of it without the cross-view decoder less VideoMAE.
      decoder: of it with less without the cross-view decoder.
    """
    return [
        Comparison(protocol, MV2MAE, SCRATCH, EXPECTED, "+"),
        Comparison(protocol, VIDEOMAE, SCRATCH, EXPECTED, "+"),
        Comparison(protocol, MV2MAE, UNTRAINED, EXPECTED, "+"),
        Comparison(protocol, UNTRAINED, SCRATCH, "nothing", ""),
        Comparison(protocol, MV2MAE, VIDEOMAE, method, "+"),
        Comparison(protocol, RANDOM, VIDEOMAE, "nothing", ""),
        Comparison(protocol, MOTION, RANDOM, "+ (Figure 4, of MV2MAE)", "+"),
        Comparison(protocol, MOTION, VIDEOMAE, without, "+"),
        Comparison(protocol, MV2MAE, MOTION, decoder, "+"),
        Comparison(protocol, MV2MAE, RANDOM, "+ (Figure 4 and Table 9 together)", "+"),
    ]


COMPARISONS = (
    *main_comparisons(
        "xview",
        method="+3.2 (Table 1, NTU-60)",
        without="+1.8 (Tables 2 and 9, NTU-120 xset)",
        decoder="+2.9 (Table 9, NTU-120 xset)",
    ),
    *main_comparisons(
        "xsub",
        method="+4.8 (Table 1, NTU-60)",
        without="+3.4 (Tables 2 and 9, NTU-120)",
        decoder="+2.2 (Table 9, NTU-120)",
    ),
    Comparison("xview", MV2MAE, "temperature inf", "+ (Figure 4, xsub)", "+"),
    Comparison("xview", "temperature 32", "temperature inf", "+ (Figure 4, xsub)", "+"),
    Comparison("xview", "temperature inf", RANDOM, "nothing of a decoder without weights", ""),
    Comparison("xview", MV2MAE, "temperature 2", "+: a middle one is best (Figure 4, xsub)", "+"),
    Comparison("xview", MV2MAE, "temperature 32", "+: a middle one is best (Figure 4, xsub)", "+"),
    Comparison("xview", MV2MAE, "mask ratio 0.6", "+1.7 (Table 7, xsub)", "+"),
    Comparison("xview", MV2MAE, "mask ratio 0.8", "+1.0 (Table 7, xsub)", "+"),
    Comparison("xview", MV2MAE, "mask ratio 0.9", "+1.9 (Table 7, xsub)", "+"),
    *(
        Comparison(
            "xview", f"MV2MAE, {share} of labels", f"from scratch, {share} of labels", EXPECTED, "+"
        )
        for share in ("25%", "10%")
    ),
    *(
        Comparison(
            "xview", MV2MAE, f"{share} of pre-training data", "+ (Figure 3, of synthetic data)", "+"
        )
        for share in ("25%", "50%")
    ),
    Comparison("xsub", "two source views", MV2MAE, "-0.1 (Table 10)", "="),
    Comparison(
        "xsub", "source at 45 degrees", "source at 90 degrees", "+0.3 to 0.4 (Table 11)", "+"
    ),
    Comparison(
        *("xview", MV2MAE, MV2MAE, "nothing; above is expected (Section 4.6 for xsub)", "+"),
        *("single_view", "single_clip"),
    ),
    Comparison(
        *("xsub", MV2MAE, MV2MAE, "+7.9, of 50 clips and crops (Section 4.6, NTU-60)", "+"),
        *("single_view", "single_clip"),
    ),
    Comparison("xsub", MV2MAE, MV2MAE, "+1.9 (Table 17)", "+", "multi_view", "single_view"),
)
