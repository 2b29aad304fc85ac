"""PKU-MMD, phase II: long sequences of actions, up to three cameras, cut by label files."""

from tfds_builders.base import DownloadedBuilder
from tfds_builders.pku_mmd2 import layout


class Builder(DownloadedBuilder):
    """Builder of the data set `pku_mmd2`."""

    LAYOUT = layout
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Get the RGB videos and the label files of phase II at
    https://www.icst.pku.edu.cn/struct/Projects/PKUMMD.html and unpack both anywhere below the raw
    directory.
    """
