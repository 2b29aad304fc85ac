"""A map of test clips by the frozen encoder's features: coloured by action, and by camera.

python -m mv2mae_jax.visualize embedding --workdir runs/pretrain --out embedding.png

Of a pre-trained or a fine-tuned run: t-SNE of features of the centre crop of each video's middle
clip. What is near on a map may be far in the features and the other way round: the numbers above
the panels are of the features, beside what chance would give.
"""

import argparse
import math
import textwrap
from collections.abc import Sequence

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.preprocessing import StandardScaler

from mv2mae_jax.command_line import number
from mv2mae_jax.data.probe_videos import balanced
from mv2mae_jax.data.splits import class_names, split_videos
from mv2mae_jax.errors import InputError
from mv2mae_jax.evaluation.features import FrozenEncoder
from mv2mae_jax.evaluation.neighbours import Purity, neighbour_purity
from mv2mae_jax.evaluation.trained import require_data_set
from mv2mae_jax.evaluation.video_features import extract
from mv2mae_jax.figures import save_figure
from mv2mae_jax.storage import out_path
from mv2mae_jax.training.checkpoints import load_parameters
from mv2mae_jax.visualize.runs import PALETTE, add_out, named, shortened

SPLITS = ("test", "validation", "train")
FEWEST, MOST = 10, 5_000  # clips; similarities of all pairs are held
COMPONENTS = 50  # principal ones, that the map is made from
PERPLEXITY = 30.0  # less for fewer than three times as many clips
NEIGHBOURS = 10
MARKERS = "o^sDvPX*<>pdhH8"  # one for each turn of the colours
SIDE = 7.0  # of a panel, inches
HEADING = 0.8  # room above the panels, inches, if their title is one line
LINE, TITLE_LETTERS = 0.17, 13  # of the title: height, letters an inch
ENTRY = 0.16  # height of a line of a legend, inches
NOTE = "neighbours: in the features, among videos of other activities"
LETTERS_ACROSS = 125  # a legend has room for, beside marks of about 6

# Names, and which of them each video has, by what they are names of.
Panels = dict[str, tuple[Sequence[str], Int[np.ndarray, " V"]]]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this picture."""
    parser.add_argument("--workdir", required=True, help="work directory of a run")
    add_out(parser)
    parser.add_argument("--data-dir", help="where the records are; default: as in training")
    parser.add_argument("--split", choices=SPLITS, default=SPLITS[0], help="default: test")
    parser.add_argument(
        "--clips", type=number(int, FEWEST, MOST), default=500, help="at most; default: 500"
    )


def draw(args: argparse.Namespace) -> None:
    """Draws the map of as many videos as asked for, of all actions alike.

    Raises:
      InputError: there are too few videos; the run, its data or their split cannot be read; the
        picture cannot be written.
    """
    out = out_path(args.out)
    parameters, config = load_parameters(args.workdir)
    require_data_set(config, args.workdir, "fine-tune from them, and draw that run")
    config.data.data_dir = args.data_dir or config.data.data_dir
    videos = balanced(split_videos(config, args.split), args.clips)
    if len(videos) < FEWEST:
        raise InputError(
            f"--split={args.split} has {len(videos)} videos; a map takes {FEWEST} or more"
        )
    labels, features = extract(config, videos, [FrozenEncoder(config, parameters).encode])
    activities = np.array([video.activity.position for video in videos])
    cameras, camera = np.unique([video.view for video in videos], return_inverse=True)
    perplexity = min(PERPLEXITY, (len(videos) - 1) / 3)
    (run,) = named([args.workdir])
    panels: Panels = {"action": (class_names(config), labels)}
    seen = ""
    if len(cameras) > 1:
        panels["camera"] = tuple(map(str, cameras)), camera
    else:
        seen = f", all of camera {cameras[0]}"
    title = (
        f"{shortened(run)}: {len(videos):,} clips of {config.data.dataset}, "
        f"{config.data.protocol}, {args.split}{seen}; t-SNE, perplexity {perplexity:.3g}"
    )
    purities = {
        what: neighbour_purity(features, of_videos, activities, NEIGHBOURS)
        for what, (_, of_videos) in panels.items()
    }
    save_figure(embedding_figure(embed(features, perplexity), panels, purities, title), out)


def embed(features: Float[np.ndarray, "V F"], perplexity: float) -> Float[np.ndarray, "V 2"]:
    """Places on the map: t-SNE of the principal components of standardised features.

    The same at every call; nothing in it is drawn at random but by a fixed seed.
    """
    scaled = StandardScaler().fit_transform(features)
    components = min(COMPONENTS, *scaled.shape)
    reduced = PCA(components, random_state=0).fit_transform(scaled)
    return TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(reduced)


@matplotlib.rc_context({"text.parse_math": False})  # names are not formulas
def embedding_figure(
    places: Float[np.ndarray, "V 2"],
    panels: Panels,
    purities: dict[str, Purity],
    title: str,
) -> Figure:
    """The map, once for each way to colour it.

    Args:
      places: of the videos.
      panels: what it is coloured by.
      purities: of the same labels in the features.
      title: what is shown.
    """
    shown = {
        what: ([names[i] for i in np.unique(labels)], np.unique(labels, return_inverse=True)[1])
        for what, (names, labels) in panels.items()
    }
    lines = max(math.ceil(len(names) / _columns(names)) for names, _ in shown.values())
    width = SIDE * len(panels)
    title = textwrap.fill(title, int(TITLE_LETTERS * width))
    heading = HEADING + LINE * title.count("\n")
    size = (width, heading + SIDE + ENTRY * lines)
    figure, axes = plt.subplots(1, len(panels), figsize=size, squeeze=False)
    for axis, (what, (names, labels)) in zip(axes[0], shown.items(), strict=True):
        _draw_panel(axis, places, names, labels)
        share, chance, neighbours = purities[what]
        axis.set_title(
            f"by {what}: {len(names)}; of the {neighbours} nearest neighbours {share:.1%} "
            f"are of the same {what}, chance {chance:.1%}",
            fontsize=9,
        )
    figure.suptitle(f"{title}\n{NOTE}", fontsize=10, y=1 - 0.1 / size[1], va="top")
    figure.subplots_adjust(
        left=0.01,
        right=0.99,
        wspace=0.02,
        bottom=1 - (heading + SIDE) / size[1],
        top=1 - heading / size[1],
    )
    return figure


def _draw_panel(
    axis: Axes,
    places: Float[np.ndarray, "V 2"],
    names: Sequence[str],
    labels: Int[np.ndarray, " V"],
) -> None:
    """Videos with the colour and the mark of their name, and the legend below."""
    palette, count = PALETTE
    handles = [
        axis.scatter(
            places[labels == number, 0],
            places[labels == number, 1],
            color=plt.get_cmap(palette)(number % count),
            marker=MARKERS[number // count % len(MARKERS)],
            s=18,
            linewidths=0,
            alpha=0.8,
        )
        for number in range(len(names))
    ]
    axis.set_xticks([])
    axis.set_yticks([])
    axis.legend(
        handles,
        [shortened(name) for name in names],
        loc="upper center",
        bbox_to_anchor=(0.5, -0.01),
        ncols=_columns(names),
        fontsize=7,
        frameon=False,
        columnspacing=1,
        handletextpad=0.1,
        borderaxespad=0,
    )


def _columns(names: Sequence[str]) -> int:
    """Of a legend, as many as have room."""
    longest = max(len(shortened(name)) for name in names)
    return max(1, min(len(names), LETTERS_ACROSS // (longest + 6)))
