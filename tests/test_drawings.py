"""Drawings from files of every usual form, and from broken ones; their rotations."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from bwot.drawings import MOST_PIXELS, read_drawing, rotations


def stroke(size=(60, 60), mode="L", paper=255, ink=0):
    """A thick slanted line and a disc, so that no rotation or mirror image is the same."""
    image = Image.new(mode, size, paper)
    draw = ImageDraw.Draw(image)
    draw.line((10, 12, 50, 40), fill=ink, width=3)
    draw.ellipse((12, 36, 24, 48), fill=ink)
    return image


PLAIN = np.asarray(stroke())


def saved(tmp_path, image, name="drawing.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


def test_black_on_white_stays_as_it_is(tmp_path):
    grey = np.asarray(stroke().resize((45, 45), Image.Resampling.BILINEAR))
    path = saved(tmp_path, Image.fromarray(grey))
    assert np.array_equal(read_drawing(path), grey)


@pytest.mark.parametrize(
    "image",
    [
        stroke(paper=0, ink=255),
        stroke(mode="1", paper=1, ink=0),
        stroke(mode="1", paper=0, ink=1),
        stroke(mode="RGB", paper="white", ink="black"),
        stroke(mode="RGB", paper="black", ink="white"),
        stroke(mode="RGB", paper="white", ink="yellow"),
        stroke(mode="RGB", paper="#224466", ink="#ffddaa"),
        stroke(mode="RGB", paper="white", ink="red").quantize(8),
        stroke(mode="LA", paper=(255, 0), ink=(0, 255)),
        stroke(mode="RGBA", paper=(0, 0, 0, 0), ink=(0, 0, 0, 255)),
        stroke(mode="RGBA", paper=(255, 255, 255, 0), ink=(0, 0, 0, 255)),
        stroke(mode="RGBA", paper=(0, 0, 0, 0), ink=(255, 255, 255, 255)),
        stroke(mode="RGBA", paper=(255, 255, 255, 0), ink=(255, 255, 255, 255)),
        stroke(mode="RGBA", paper=(9, 9, 9, 0), ink=(255, 255, 0, 255)),
        stroke(mode="RGBA", paper=(255, 255, 255, 255), ink=(0, 0, 200, 255)),
        Image.fromarray(np.asarray(stroke(), np.uint16) * 257),
        Image.fromarray(65535 - np.asarray(stroke(), np.uint16) * 257),
    ],
    ids=lambda image: f"{image.mode} {image.getpixel((0, 0))} {image.getpixel((30, 26))}",
)
def test_every_form_gives_black_ink_on_white_paper(tmp_path, image):
    assert np.array_equal(read_drawing(saved(tmp_path, image)), PLAIN)


def test_a_palette_with_a_transparent_colour_is_understood(tmp_path):
    image = stroke(mode="RGB", paper="#010203", ink="#fefefe").quantize(4)
    path = saved(tmp_path, image, transparency=image.getpixel((0, 0)))
    assert np.array_equal(read_drawing(path), PLAIN)


def test_real_numbers_are_understood(tmp_path):
    image = Image.fromarray((PLAIN / 255).astype(np.float32))
    assert np.array_equal(read_drawing(saved(tmp_path, image, "drawing.tiff")), PLAIN)


def test_pixels_that_are_no_numbers_are_refused(tmp_path):
    image = Image.fromarray(np.full((9, 9), np.nan, np.float32))
    with pytest.raises(ValueError, match=r"drawing\.tiff cannot be read .* no numbers"):
        read_drawing(saved(tmp_path, image, "drawing.tiff"))


def test_jpeg_is_nearly_the_same(tmp_path):
    found = read_drawing(saved(tmp_path, stroke(), "drawing.jpg", quality=95))
    assert np.abs(found.astype(int) - PLAIN).mean() < 2


def test_a_turned_photograph_stands_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 270 degrees to show it
    path = saved(tmp_path, stroke().rotate(90), "drawing.png", exif=exif)
    assert np.array_equal(read_drawing(path), PLAIN)


def test_pencil_on_grey_paper_becomes_black_on_white(tmp_path):
    found = read_drawing(saved(tmp_path, stroke(paper=180, ink=90)))
    assert np.array_equal(found, PLAIN)


@pytest.mark.parametrize("size", [(60, 101), (101, 60)])
def test_a_picture_that_is_not_square_is_set_in_the_middle_of_paper(tmp_path, size):
    found = read_drawing(saved(tmp_path, stroke(size)))
    assert found.shape == (101, 101)
    left, top = ((101 - side) // 2 for side in size)
    inside = found[top : top + size[1], left : left + size[0]]
    assert np.array_equal(inside, np.asarray(stroke(size)))
    assert (found == 0).sum() == (inside == 0).sum()


@pytest.mark.parametrize("level", [0, 255, 120])
@pytest.mark.parametrize("side", [1, 50])
def test_an_empty_picture_is_named(tmp_path, level, side):
    path = saved(tmp_path, Image.new("L", (side, side), level), "empty.png")
    with pytest.raises(
        ValueError, match=r"empty\.png cannot be read as a drawing: nothing is drawn"
    ):
        read_drawing(path)


def test_nothing_but_transparency_is_named(tmp_path):
    path = saved(tmp_path, Image.new("RGBA", (50, 50), (0, 0, 0, 0)), "clear.png")
    with pytest.raises(ValueError, match=r"clear\.png .* nothing is drawn"):
        read_drawing(path)


def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path):
    side = int(MOST_PIXELS**0.5) + 1
    path = saved(tmp_path, Image.new("1", (side, side), 1), "huge.png")
    with pytest.raises(ValueError, match=r"huge\.png .* expected 67,108,864 at most"):
        read_drawing(path)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"no picture", b"\xff\xd8\xff\xe0"])
def test_what_is_no_picture_is_named(tmp_path, content):
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.png cannot be read as a drawing"):
        read_drawing(path)


@pytest.mark.parametrize("name", ["cut.png", "cut.jpg", "cut.gif", "cut.tiff", "cut.webp"])
def test_a_file_that_was_cut_off_or_damaged_anywhere_is_named_or_read(tmp_path, name):
    whole = saved(tmp_path, stroke(), name).read_bytes()
    path, random, refused = tmp_path / name, np.random.default_rng(0), 0
    for trial in range(60):
        content = bytearray(whole)
        if trial % 2:
            content[random.integers(len(whole))] ^= 1 << int(random.integers(8))
        else:
            del content[int(random.integers(len(whole))) :]
        path.write_bytes(content)
        try:
            assert read_drawing(path).dtype == np.uint8
        except ValueError as error:
            assert name in str(error)
            refused += 1
    assert refused > 10


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        read_drawing(tmp_path / "none.png")


def test_the_first_rotation_is_the_drawing_as_it_is():
    assert np.array_equal(rotations(PLAIN, size=60)[0], PLAIN)


def test_quarter_turns_are_exact_and_counter_clockwise():
    turned = rotations(PLAIN, size=60)
    for quarter in range(4):
        assert np.array_equal(turned[5 * quarter], np.rot90(PLAIN, quarter))


def test_corners_are_white():
    page = np.zeros((80, 80), np.uint8)
    turned = rotations(page, size=40)
    assert turned[2][0, 0] == turned[2][-1, -1] == 255
    assert turned[2][20, 20] == 0


def test_ink_is_kept_by_turning_what_lies_inside_the_circle():
    ink = (255 - rotations(PLAIN, size=60).astype(int)).sum((1, 2))
    assert np.abs(ink / ink[0] - 1).max() < 0.03


@pytest.mark.parametrize("side", [30, 100, 700])
def test_any_size_comes_out_as_asked(side):
    drawing = np.full((side, side), 255, np.uint8)
    drawing[: side // 2] = 0
    turned = rotations(drawing, size=50, count=4)
    assert turned.shape == (4, 50, 50)
    assert abs(int((turned[0] < 128).sum()) - 1250) <= 50


def test_resizing_averages_instead_of_leaving_out_thin_lines():
    drawing = np.full((900, 900), 255, np.uint8)
    drawing[:, 450:453] = 0
    assert rotations(drawing, size=50, count=1).min() < 240


def test_a_flipped_byte_in_the_picture_is_found(tmp_path):
    path = tmp_path / "drawing.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60), np.uint8)).save(path)
    read_drawing(path)
    content = bytearray(path.read_bytes())
    for place in range(60, len(content) - 30, 97):
        damaged = content.copy()
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"drawing\.png cannot be read as a drawing"):
            read_drawing(path)
