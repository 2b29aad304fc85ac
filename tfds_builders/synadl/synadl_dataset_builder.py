"""KIST SynADL: rendered characters doing the activities of ETRI-Activity3D, 28 cameras."""

from tfds_builders.base import DownloadedBuilder
from tfds_builders.synadl import layout


class Builder(DownloadedBuilder):
    """Builder of the data set `synadl`."""

    LAYOUT = layout
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Ask for RGB.zip at https://ai4robot.github.io/ElderSim and unpack it anywhere below the raw
    directory.
    """
