"""What the videos of the data set `colours` show.

Every frame is of one colour that tells where it is from: red the time, green the view, blue the
activity. So a test reads from a batch which frames are in it.
"""

import numpy as np

ACTIVITIES = 14
VIEWS = ("1", "2", "3")
SUBJECTS = ("ann", "bob", "cyd")
LABELS = ("bow", "clap", "wave")
HEIGHT, WIDTH = 36, 48
ONE_VIEW = 13  # the only activity that has a single view


def frames_of(activity: int, view: str) -> int:
    """Length of a video: the views of an activity differ a little, and some are very short."""
    return (8 if activity % 5 == 4 else 20 + activity) + int(view)


def colour_of(activity: int, view: str, time: int) -> tuple[int, int, int]:
    """The colour of a frame, red, green and blue."""
    return 7 * time, 60 * int(view), 16 * activity


def where_from(frame: np.ndarray) -> tuple[int, str, int]:
    """Activity, view and time of a frame, from its colour."""
    red, green, blue = frame.reshape(-1, 3).mean(axis=0)
    return round(blue / 16), str(round(green / 60)), round(red / 7)


def shown(clip: np.ndarray) -> tuple[int, str, list[int]]:
    """Activity, view and times of a clip, which is of one activity and one view."""
    frames = [where_from(frame) for frame in clip]
    ((activity, view),) = {(activity, view) for activity, view, _ in frames}
    return activity, view, [time for _, _, time in frames]
