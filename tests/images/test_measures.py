"""Measures of pictures, and the similarity of two."""

from __future__ import annotations

import random
import subprocess
import sys
from functools import cache

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from request_images.exceptions import PictureRefused
from request_images.images import decode
from request_images.images.hashes import MAX_DISTANCE, distance, group
from request_images.images.measures import Measures, measure
from tests.images.test_thumbnail import MODES, SAMPLES, grey, rgba, written
from tests.traps import trap

EXIF_ORIENTATION = 0x0112


QUICKLY = {"PNG": {"compress_level": 1}, "WEBP": {"method": 0}}
"""The options with which Pillow writes the same pixels in a fraction of the time."""


def measured(image: Image.Image, fmt: str = "PNG", **options: object) -> Measures:
    data = written(image, fmt, **QUICKLY.get(fmt, {}), **options)
    return measure(data, max_pixels=10**7)


@cache
def layout_of_scene(seed: int) -> str:
    return measured(scene(seed)).layout


def scene(seed: int, size: tuple[int, int] = (640, 480)) -> Image.Image:
    """Return a picture of shapes before a background of soft colours."""
    rng = random.Random(seed)
    small = Image.frombytes("RGB", (12, 9), rng.randbytes(12 * 9 * 3))
    image = small.resize(size, Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(image)
    for _ in range(30):
        x, y = rng.randrange(size[0]), rng.randrange(size[1])
        side = rng.randrange(10, size[0] // 5)
        pen.ellipse((x, y, x + side, y + side), fill=tuple(rng.randbytes(3)))
    return image


class TestNumbers:
    def test_uniform_picture(self):
        """A uniform picture has no contrast, entropy or sharpness."""
        found = measured(Image.new("L", (40, 30), 80))
        assert found == Measures(80, 0, 0, 0, "0" * 64)

    def test_black_and_white_picture(self):
        """Half black and half white: the largest contrast, and one bit."""
        found = measured(grey("L", 0, 255))
        assert found.brightness == found.contrast == 127.5
        assert found.entropy == 1

    def test_picture_of_all_greys(self):
        """Eight bits, and the standard deviation of 0 to 255."""
        found = measured(Image.frombytes("L", (16, 16), bytes(range(256))))
        assert (found.brightness, found.entropy) == (127.5, 8)
        assert found.contrast == pytest.approx(((256**2 - 1) / 12) ** 0.5)

    def test_sharpness_of_one_light_pixel(self):
        """Of nine Laplacians one is -40 and four are 10."""
        image = Image.new("L", (5, 5))
        image.putpixel((2, 2), 10)
        assert measured(image).sharpness == pytest.approx((40**2 + 4 * 10**2) / 9)

    def test_brightness_of_colours(self):
        """Green is lighter than red, and red lighter than blue (BT.601)."""
        colours = {"red": 76, "lime": 150, "blue": 29}
        for colour, expected in colours.items():
            assert measured(Image.new("RGB", (9, 9), colour)).brightness == expected

    def test_darker_picture_has_lower_brightness(self):
        bright, dark = (
            measured(ImageEnhance.Brightness(scene(1)).enhance(factor))
            for factor in (1, 0.4)
        )
        assert dark.brightness == pytest.approx(0.4 * bright.brightness, rel=0.02)
        assert dark.contrast < bright.contrast
        assert dark.entropy < bright.entropy

    @pytest.mark.parametrize("fmt", ["PNG", "JPEG", "WEBP"])
    def test_blurred_picture_is_less_sharp(self, fmt):
        """Sharpness falls strictly with the blur."""
        blurred = [
            measured(scene(1).filter(ImageFilter.GaussianBlur(radius)), fmt).sharpness
            for radius in (0, 1, 2, 4)
        ]
        assert blurred == sorted(blurred, reverse=True)
        assert blurred[0] > 10 * blurred[-1]

    def test_sharp_object_on_an_empty_background(self):
        """Sharpness is measured at full size, tile by tile."""
        image = Image.new("L", (2400, 1800), 200)
        thing = Image.effect_noise((200, 200), 60)
        image.paste(thing, (300, 200))
        assert measured(image).sharpness > 1000
        small = image.resize((160, 120))
        blurred = image.filter(ImageFilter.GaussianBlur(8))
        assert measured(blurred).sharpness < 5 < measured(small).sharpness

    @pytest.mark.parametrize("size", [(1, 1), (2, 9), (9, 2), (257, 300), (3000, 2)])
    def test_small_and_narrow_pictures(self, size):
        """Without a pixel with four neighbours, sharpness is 0."""
        found = measured(Image.effect_noise(size, 80))
        assert len(found.layout) == 64
        assert (found.sharpness > 0) == (min(size) > 2)


class TestInput:
    @pytest.mark.parametrize("mode", MODES)
    def test_every_mode(self, mode):
        """A dark half and a light one measure the same in each mode."""
        found = measure(MODES[mode], max_pixels=10**6)
        assert found.brightness == pytest.approx(127.5, abs=3)
        assert found.contrast == pytest.approx(127.5, abs=6)

    @pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
    def test_transparent_pixels_are_white(self, mode):
        """A transparent picture is shown on white, as on most pages."""
        image = rgba((0, 0, 0)).convert("RGBA")
        if mode == "P":
            image = image.quantize(4)
        elif mode == "LA":
            image = image.convert("LA")
        assert measured(image).brightness == 127.5

    @pytest.mark.parametrize("fmt", ["GIF", "WEBP", "PNG"])
    def test_animation_is_measured_by_its_first_frame(self, fmt):
        frames = [Image.new("L", (40, 40), value) for value in (0, 255)]
        options = {"lossless": True} if fmt == "WEBP" else {}
        found = measured(
            frames[0], fmt, save_all=True, append_images=frames[1:], **options
        )
        assert found.brightness == 0

    @pytest.mark.parametrize(
        ("fmt", "mode"),
        [("JPEG", "RGB"), ("PNG", "RGB"), ("WEBP", "RGB"), ("PNG", "RGBA")],
    )
    def test_hash_is_of_the_rotated_picture(self, fmt, mode):
        """The hash is of the picture as a viewer shows it."""
        image = scene(3).convert(mode)
        exif = Image.Exif()
        exif[EXIF_ORIENTATION] = 6
        turned = image.transpose(Image.Transpose.ROTATE_90)
        layout = measured(image).layout
        assert distance(layout, measured(turned, fmt, exif=exif).layout) < 8
        assert distance(layout, measured(turned, fmt).layout) > MAX_DISTANCE


class TestPerceptualHash:
    def test_bit_compares_neighbours(self):
        """A bit for each place that is lighter than the one to its right."""
        image = Image.new("L", (17, 16))
        image.putpixel((0, 0), 200)
        image.putpixel((16, 15), 200)
        assert measured(image).layout == "8" + "0" * 63
        image.putpixel((15, 15), 255)
        assert measured(image).layout == "8" + "0" * 62 + "1"

    @pytest.mark.parametrize(
        "change",
        [
            lambda image: image.resize((200, 150)),
            lambda image: image.resize((640, 300)),
            lambda image: ImageEnhance.Brightness(image).enhance(1.15),
            lambda image: ImageEnhance.Contrast(image).enhance(0.7),
            lambda image: image.filter(ImageFilter.GaussianBlur(3)),
            lambda image: image.convert("L"),
            lambda image: image.crop((6, 4, 640, 480)),
        ],
    )
    @pytest.mark.parametrize("fmt", ["PNG", "JPEG", "WEBP"])
    def test_copies_are_similar(self, change, fmt):
        for seed in range(3):
            copy = measured(change(scene(seed)), fmt).layout
            assert distance(layout_of_scene(seed), copy) <= MAX_DISTANCE - 8

    def test_different_pictures_are_not_similar(self):
        layouts = [layout_of_scene(seed) for seed in range(8)]
        for index, layout in enumerate(layouts):
            for other in layouts[:index]:
                assert distance(layout, other) > 2 * MAX_DISTANCE


class TestGroups:
    def test_similar_pictures_share_a_group(self):
        """Each picture is in one; the largest comes first, the rest in their order."""
        one, near, far = "0" * 64, "0" * 56 + "f" * 8, "f" * 64
        assert distance(one, near) == MAX_DISTANCE
        assert group([far, one, near, one, far, one]) == [[1, 2, 3, 5], [0, 4]]

    def test_distance_above_the_limit_makes_two_groups(self):
        one, beyond = "0" * 64, "0" * 55 + "1" + "f" * 8
        assert group([one, beyond]) == [[0], [1]]

    def test_no_pictures_make_no_groups(self):
        assert group([]) == []


class TestBounds:
    def test_too_many_pixels_are_refused(self):
        with pytest.raises(PictureRefused, match="40 x 30 pixels"):
            measure(written(Image.new("L", (40, 30)), "PNG"), max_pixels=1199)

    def test_too_much_memory_is_refused(self):
        data = written(Image.new("L", (40, 30)), "PNG")
        with pytest.raises(PictureRefused, match="40 x 30 pixels"):
            measure(data, max_pixels=10**6, max_bytes=1200 * 13 - 1)
        assert measure(data, max_pixels=10**6, max_bytes=1200 * 13).brightness == 0

    @trap("HOSTILE10")
    @settings(max_examples=150, deadline=None)
    @example(SAMPLES[0], [], 1)
    @given(
        st.sampled_from(SAMPLES),
        st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=8),
        st.floats(0.05, 1),
    )
    def test_hostile_bytes(self, data, changes, share):
        """HOSTILE10: damaged files give measures or `PictureRefused`, nothing else."""
        damaged = bytearray(data[: int(len(data) * share)])
        for place, value in changes:
            damaged[int(place * len(damaged))] = value
        try:
            found = measure(bytes(damaged), max_pixels=10**6)
        except PictureRefused as error:
            assert str(error)  # noqa: PT017  # either way is right
        else:
            assert 0 <= found.brightness <= 255
            assert 0 <= found.entropy <= 8

    @pytest.mark.parametrize(
        ("fmt", "mode", "options"),
        [
            ("JPEG", "RGB", {"progressive": True}),
            ("PNG", "LA", {"compress_level": 1}),
            ("TIFF", "I", {}),
            ("WEBP", "RGBA", {"lossless": True, "method": 0}),
        ],
    )
    def test_memory_stays_within_the_estimate(self, fmt, mode, options):
        """Measured in a process of its own, with a picture of nine megapixels."""
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, fmt, mode],
            input=written(Image.new(mode, (3000, 3000)), fmt, **options),
            capture_output=True,
            check=True,
            timeout=60,
        )
        # A little for what the allocator keeps.
        assert float(done.stdout) < decode.BYTES_PER_PIXEL[fmt] + 1


MEMORY = """
import io, resource, sys
from PIL import Image
from request_images.images.measures import measure

def most():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

fmt, mode = sys.argv[1:]
data = sys.stdin.buffer.read()
small = io.BytesIO()
Image.new(mode, (40, 40)).save(small, fmt)
measure(small.getvalue(), max_pixels=10**9)  # loads what it needs
before = most()
measure(data, max_pixels=10**9)
print((most() - before) / 3000**2)
"""
