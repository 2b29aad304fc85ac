"""NTU RGB+D (60 actions) and NTU RGB+D 120 in one data set; protocols are filters of its index."""

from tfds_builders.base import DownloadedBuilder
from tfds_builders.ntu import layout


class Builder(DownloadedBuilder):
    """Builder of the data set `ntu`."""

    LAYOUT = layout
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Ask for the RGB videos at https://rose1.ntu.edu.sg/dataset/actionRecognition/ and unpack them
    anywhere below the raw directory.
    """
