"""Data sets as TFDS builders: a raw layout becomes manifest rows, the rows become records."""

# Those with a folder of their own here, by its name; every other data set is a manifest.
DOWNLOADED = {
    "ntu": "NTU RGB+D and NTU RGB+D 120",
    "etri": "ETRI-Activity3D",
    "synadl": "KIST SynADL",
    "nucla": "Northwestern-UCLA Multiview Action 3D",
    "pku_mmd2": "PKU-MMD, phase II",
    "rocog_v2": "RoCoG-v2",
}
BUILDERS = (*DOWNLOADED, "mannequin")

SHORT_SIDE, QUALITY, MAX_BROKEN = 144, 90, 0.01  # where nothing else is asked for
