"""How much of a performance is left to chance: where and when it happens, and what else moves.

`centred`: people stand in the middle and nearly fill the picture, and nothing else moves. Where and
when something moves tells the action, to a linear classifier of frame differences already.

`roaming`: people stand anywhere in the room and in the picture, nearer or farther, and act for a
part of the time, while balls bounce through the room. What moves, and how, has to be told from
where: a fair test of features.

`alone`: the performances of `roaming`, seen by the same cameras, without balls: what moves is the
person.
"""

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Staging:
    """Bounds of what is drawn for a performance.

    Attributes:
      area: half width (x) and half depth (z) of the ellipse on which people stand, metres.
      back: how far behind the origin its middle lies, metres.
      turn: how far they may face away from the camera meant, radians.
      aside: how far from the middle of the picture they may stand, of its width.
      slack: share of the room above and below them that is left unused when framing.
      frames: mean number of frames at average speed, and how far it may differ.
      onset: when the action may begin, as a share of the video.
      end: when it may be over.
      balls: the least and the largest number of balls.
    """

    area: tuple[float, float]
    back: float
    turn: float
    aside: float
    slack: float
    frames: tuple[int, int]
    onset: tuple[float, float]
    end: tuple[float, float]
    balls: tuple[int, int]


CENTRED = Staging(
    area=(0.5, 0.5),
    back=0.0,
    turn=np.deg2rad(15),
    aside=0.04,
    slack=0.3,
    frames=(35, 5),
    onset=(0.02, 0.2),
    end=(0.82, 0.98),
    balls=(0, 0),
)
ROAMING = Staging(
    area=(0.9, 0.95),
    back=0.55,
    turn=np.deg2rad(40),
    aside=0.2,
    slack=0.0,
    frames=(50, 8),
    onset=(0.02, 0.3),
    end=(0.65, 0.98),
    balls=(1, 3),
)
ALONE = replace(ROAMING, balls=(0, 0))
STAGINGS = {"centred": CENTRED, "roaming": ROAMING, "alone": ALONE}
