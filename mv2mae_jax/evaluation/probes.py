"""What a linear classifier can read off fixed features."""

import numpy as np
from jaxtyping import Float, Int, UInt8
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

PENALTIES = np.logspace(0, 8, 17)


def ridge_accuracy(
    train: Float[np.ndarray, "V F"],
    train_labels: Int[np.ndarray, " V"],
    test: Float[np.ndarray, "W F"],
    test_labels: Int[np.ndarray, " W"],
) -> float:
    """Test accuracy of a ridge classifier on standardised features.

    The penalty is chosen by leave-one-out on the training videos; the test videos take no part.
    """
    probe = make_pipeline(StandardScaler(), RidgeClassifierCV(PENALTIES))
    return float(probe.fit(train, train_labels).score(test, test_labels))


def motion_map(
    clips: UInt8[np.ndarray, "B T H W C"], patch_size: tuple[int, int, int]
) -> Float[np.ndarray, "B t hw"]:
    """Mean absolute frame difference in every tubelet: where and when something moves, no more."""
    frames = clips.astype(np.float32)
    difference = np.abs(frames[:, 1:] - frames[:, :-1])
    difference = np.concatenate([difference[:, :1], difference], axis=1)
    b, t, h, w, c = difference.shape
    p0, p1, p2 = patch_size
    tubelets = difference.reshape(b, t // p0, p0, h // p1, p1, w // p2, p2, c)
    return tubelets.mean(axis=(2, 4, 6, 7)).reshape(b, t // p0, -1)
