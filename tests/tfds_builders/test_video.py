"""Frames of real videos: the right ones, of the right size, and none from a damaged file."""

import gc
import os
import shutil
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import simplejpeg
from videos import moving_pattern, write_video

from tfds_builders.video import VideoError, count_frames, encode_frames

FORMATS = {"a.avi": "mpeg4", "a.mp4": "libx264", "a.webm": "libvpx-vp9", "a.mpg": "mpeg2video"}
FRAMES = 40


@pytest.fixture(scope="module", params=FORMATS)
def video(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    name = request.param
    return write_video(
        tmp_path_factory.mktemp("video") / name, moving_pattern(FRAMES), FORMATS[name]
    )


def encode(
    path: Path, first: int = 0, last: int | None = None, short_side: int = 60
) -> list[bytes]:
    return encode_frames(path, first, last, short_side=short_side, quality=90).images


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


def by_opencv(path: Path) -> list[np.ndarray]:
    """All frames, RGB, decoded by another library."""
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (frame := capture.read()[1]) is not None:
        frames.append(frame[..., ::-1])
    return frames


def test_frames_equal_those_of_another_decoder_made_smaller(video: Path) -> None:
    images = encode(video)
    expected = by_opencv(video)
    assert len(images) == len(expected) == count_frames(video) == FRAMES
    for image, frame in zip(images, expected, strict=True):
        reduced = cv2.resize(frame, (80, 60), interpolation=cv2.INTER_AREA)
        assert psnr(simplejpeg.decode_jpeg(image), reduced) > 30
    # The bound tells a frame from its neighbour.
    neighbour = cv2.resize(expected[11], (80, 60), interpolation=cv2.INTER_AREA)
    assert psnr(simplejpeg.decode_jpeg(images[10]), neighbour) < 30


@pytest.mark.parametrize("first, last", [(0, 0), (5, 9), (13, 30), (8, 8), (39, 39), (21, None)])
def test_a_range_is_a_slice_of_the_whole(video: Path, first: int, last: int | None) -> None:
    end = FRAMES if last is None else last + 1
    assert encode(video, first, last) == encode(video)[first:end]


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("b-frames.avi", "mpeg4", {"bf": "2"}),
        ("b-frames.mp4", "mpeg4", {"bf": "2"}),
        ("time-stamps-out-of-order.avi", "libx264", {}),
        ("open-groups.mp4", "libx264", {"x264_params": "open-gop=1:keyint=12:bframes=3"}),
        ("open-groups.mkv", "libx265", {"x265_params": "keyint=12:log-level=none"}),
    ],
)
def test_a_seek_that_leads_elsewhere_changes_nothing(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    path = write_video(tmp_path / name, moving_pattern(FRAMES), codec, **options)
    whole = encode(path)
    assert len(whole) == FRAMES
    for first in range(1, FRAMES, 3):
        assert encode(path, first) == whole[first:]
        last = min(first + 5, FRAMES - 1)
        assert encode(path, first, last) == whole[first : last + 1]


def test_a_frame_that_is_lost_is_missed_and_no_other_takes_its_place(tmp_path: Path) -> None:
    """Of a packet that others need, which the decoder leaves out without a word."""
    path = write_video(tmp_path / "a.mkv", moving_pattern(FRAMES), bf="2")
    cut = tmp_path / "cut.mkv"
    with av.open(str(path)) as source, av.open(str(cut), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux() if packet.size]
        for packet in [*packets[:19], *packets[20:]]:
            packet.stream = stream
            target.mux(packet)
    assert encode(cut, 5, 10) == encode(path, 5, 10)
    with pytest.raises(VideoError, match=r"frame \d+ cannot be decoded"):
        encode(cut, 15, 25)


def test_names_in_another_encoding_within_a_video_do_not_matter(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", moving_pattern(3))
    latin = path.read_bytes().replace(b"Lavf", b"caf\xe9")
    assert latin != path.read_bytes()
    path.write_bytes(latin)
    assert len(encode(path)) == count_frames(path) == 3


def test_a_codec_that_is_not_known_is_said(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", moving_pattern(3))
    path.write_bytes(path.read_bytes().replace(b"FMP4", b"XYZ9"))
    for read in (encode, count_frames):
        with pytest.raises(VideoError, match="codec that is not known"):
            read(path)


def test_a_range_past_the_end_is_an_error(video: Path) -> None:
    with pytest.raises(VideoError, match="5 of 10 frames from frame 35"):
        encode(video, 35, 44)


@pytest.mark.parametrize(
    "height, width, short_side, expected",
    [(120, 160, 144, (120, 160)), (120, 160, 60, (60, 80)), (200, 110, 55, (100, 55))],
)
def test_the_short_side_shrinks_and_never_grows(
    tmp_path: Path, height: int, width: int, short_side: int, expected: tuple[int, int]
) -> None:
    path = write_video(tmp_path / "a.mp4", moving_pattern(2, height, width))
    (first, _) = encode(path, short_side=short_side)
    assert simplejpeg.decode_jpeg(first).shape == (*expected, 3)


def with_matrix(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """The MP4 with another display matrix."""
    data = path.read_bytes()
    a, b, c, d = (int(value * 65536).to_bytes(4, "big", signed=True) for value in matrix)
    rotated = b"".join([a, b, bytes(4), c, d, bytes(12), (1 << 30).to_bytes(4, "big")])
    start = data.index(b"tkhd") + 4 + 40  # the matrix of the track header
    path.write_bytes(data[:start] + rotated + data[start + 36 :])
    return path


@pytest.mark.parametrize("matrix", [(0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)])
def test_video_that_is_stored_sideways_is_turned_upright(
    tmp_path: Path, matrix: tuple[int, int, int, int]
) -> None:
    path = with_matrix(write_video(tmp_path / "a.mp4", moving_pattern(3)), matrix)
    expected = by_opencv(path)
    for image, frame in zip(encode(path, short_side=200), expected, strict=True):
        assert psnr(simplejpeg.decode_jpeg(image), frame) > 30


@pytest.mark.parametrize(
    ("matrix", "shown"),
    [
        ((-1, 0, 0, 1), lambda frame: frame[:, ::-1]),
        ((1, 0, 0, -1), lambda frame: frame[::-1]),
        ((0, 1, 1, 0), lambda frame: frame.transpose(1, 0, 2)),
        ((0, -1, -1, 0), lambda frame: frame[::-1, ::-1].transpose(1, 0, 2)),
    ],
)
def test_video_that_is_stored_mirrored_is_mirrored_back(tmp_path: Path, matrix, shown) -> None:
    path = write_video(tmp_path / "a.mp4", moving_pattern(3))
    plain = by_opencv(path)
    for image, frame in zip(encode(with_matrix(path, matrix), short_side=200), plain, strict=True):
        assert psnr(simplejpeg.decode_jpeg(image), shown(frame)) > 30


@pytest.mark.parametrize("damage", ["empty", "text", "end cut off", "middle cut out"])
def test_a_damaged_file_gives_a_reason_and_no_frames(
    video: Path, tmp_path: Path, damage: str
) -> None:
    data = video.read_bytes()
    third = len(data) // 3
    damaged = {
        "empty": b"",
        "text": b"not a video at all\n" * 50,
        "end cut off": data[: 2 * third],
        "middle cut out": data[:third] + data[2 * third :],
    }[damage]
    path = tmp_path / video.name
    path.write_bytes(damaged)
    with pytest.raises(VideoError) as error:
        encode(path)
    assert "\n" not in str(error.value)


def test_a_damaged_end_does_not_matter_before_it(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", moving_pattern(FRAMES), "mpeg4")
    whole = encode(path)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert encode(cut, 4, 9) == whole[4:10]
    with pytest.raises(VideoError):
        encode(cut)


@pytest.mark.parametrize(("suffix", "sound"), [("mkv", "aac"), ("webm", "libopus")])
def test_an_end_that_is_cut_off_with_the_sound_is_missed(
    tmp_path: Path, suffix: str, sound: str
) -> None:
    """Containers that declare no number of frames, but how long they last."""
    path, second = tmp_path / f"a.{suffix}", FRAMES / 30
    codec = {"mkv": "mpeg4", "webm": "libvpx-vp9"}[suffix]
    with av.open(str(path), "w") as container:
        pictures = container.add_stream(codec, rate=30)
        pictures.height, pictures.width, pictures.pix_fmt = 120, 160, "yuv420p"
        voice = container.add_stream(sound, rate=48000)
        packets = []
        for frame in moving_pattern(FRAMES):
            packets += pictures.encode(av.VideoFrame.from_ndarray(frame, format="rgb24"))
        noise = np.random.default_rng(0).uniform(-1, 1, (1, int(48000 * second)))
        heard = av.AudioFrame.from_ndarray(noise.astype(np.float32), "fltp", "mono")
        heard.sample_rate, heard.pts, heard.time_base = 48000, 0, Fraction(1, 48000)
        resampler = av.AudioResampler(voice.format, voice.layout, 48000)
        for part in [*resampler.resample(heard), *resampler.resample(None)]:
            packets += voice.encode(part)
        packets += [*pictures.encode(), *voice.encode()]
        container.mux(sorted(packets, key=lambda packet: packet.pts * packet.time_base))
    assert len(encode(path)) == len(encode(path, 2)) + 2 == FRAMES
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for first in (0, 2):
        with pytest.raises(VideoError, match=r"ends after \d\.\d of 1\.\d s"):
            encode(cut, first)


def test_an_avi_that_lacks_frames_lacks_them_wherever_it_is_read_from(tmp_path: Path) -> None:
    """Empty chunks are for frames that a recorder dropped; of them nothing can be decoded."""
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.height, stream.width, stream.pix_fmt = 120, 160, "yuv420p"
        for number, frame in enumerate(moving_pattern(FRAMES)):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts = number + 5 * (number >= 20)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    assert count_frames(path) == FRAMES + 5
    for first in (0, 3):
        with pytest.raises(VideoError, match="40 of 45 frames can be decoded"):
            encode(path, first)
    assert len(encode(path, 3, 30)) == 28


def test_sound_without_pictures_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(VideoError, match="no video stream"):
        encode(path)


def test_a_file_that_may_not_be_read_is_named() -> None:
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # only the file is closed
        path = write_video(Path(folder) / "a.avi", moving_pattern(FRAMES))
        path.chmod(0)
        if user == 0:
            os.seteuid(65534)  # root may read everything
        try:
            assert path.exists()
            with pytest.raises(VideoError, match="Permission denied"):
                encode(path)
        finally:
            os.seteuid(user)


def test_times_are_those_of_the_stamps(video: Path, tmp_path: Path) -> None:
    times = encode_frames(video, 3, 20, short_side=60, quality=90).times
    np.testing.assert_allclose(times, np.arange(3, 21) / 30, atol=2e-3)
    path = write_video(tmp_path / "b.avi", moving_pattern(9), "libx264", bf="2")  # out of order
    times = encode_frames(path, 2, None, short_side=60, quality=90).times
    np.testing.assert_allclose(times, np.arange(2, 9) / 30)


def test_pixels_that_are_not_square_are_made_so(tmp_path: Path) -> None:
    frames = moving_pattern(2, 120, 80)
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.height, stream.width, stream.pix_fmt = 120, 80, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(3, 1)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    for image, frame in zip(encode(tmp_path / "a.mp4"), frames, strict=True):
        wide = cv2.resize(cv2.resize(frame, (240, 120)), (120, 60), interpolation=cv2.INTER_AREA)
        assert psnr(simplejpeg.decode_jpeg(image), wide) > 30


def test_same_frames_whatever_the_name(video: Path, tmp_path: Path) -> None:
    copy = tmp_path / f"name with spaces, and é{video.suffix}"
    shutil.copy(video, copy)
    assert encode(copy) == encode(video)


def test_frames_are_freed_as_they_are_used(tmp_path: Path) -> None:
    def alive() -> int:
        # Not `isinstance`, which asks objects of others for their class: some warn.
        return sum(type(x) is av.VideoFrame for x in gc.get_objects())

    path = write_video(tmp_path / "a.mp4", moving_pattern(30))
    gc.collect()
    gc.disable()  # which would find what lies in cycles, some frames late
    try:
        before = alive()  # of other tests
        encode(path)
        after = alive()
    finally:
        gc.enable()
    assert after - before <= 1
