import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gazeseg.errors import DataError
from gazeseg.gaze.geometry import Viewing, Viewport, from_degrees, px_per_degree, to_degrees
from gazeseg.types import ScreenGeometry

SCREEN = ScreenGeometry(1000, 500, 50.0, 25.0, 50.0)  # 20 px to a cm


def image(view, x, y):
    return tuple(float(v) for v in view.to_image(np.float64(x), np.float64(y)))


def test_an_image_at_the_top_left_in_its_own_size_is_the_screen():
    assert image(Viewport(), 17.25, 3.0) == (17.25, 3.0)


def test_letterbox_by_hand():
    # a 200 x 100 (W x H) image on 1000 x 600: zoom 5, 500 px high, bars of 50 px above and below
    view = Viewport.fit((100, 200), (1000, 600))
    assert (view.left_px, view.top_px, view.zoom_x, view.zoom_y) == (0, 50, 5, 5)
    assert image(view, -0.5, 49.5) == (-0.5, -0.5)  # the corner of the image
    assert image(view, 2, 52) == (0, 0)  # the middle of the five screen px that show pixel (0, 0)
    assert image(view, 999.5, 549.5) == (199.5, 99.5)
    assert image(view, 500, 20)[1] < -0.5  # on the bar: off the image


def test_a_portrait_image_has_its_bars_left_and_right():
    assert Viewport.fit((300, 100), (900, 600)) == Viewport(350, 0, 2, 2)
    assert Viewport.centred((300, 100), (900, 600)) == Viewport(400, 150, 1, 1)


def test_a_box_stretches():
    view = Viewport.box((100, 200), (10, 20, 400, 50))
    assert (view.zoom_x, view.zoom_y) == (2, 0.5)
    assert image(view, 10 + 399.5, 20 + 49.5) == (199.5, 99.5)


def test_zooming_keeps_the_pixel_under_the_pointer_and_panning_moves_all():
    view = Viewport.fit((100, 200), (1000, 600))
    closer = view.zoomed(3.0, 700, 300, onset_ms=5)
    assert image(closer, 700, 300) == pytest.approx(image(view, 700, 300))
    assert closer.zoom_x == 15
    assert image(closer.panned(30, -15, 6), 730, 285) == pytest.approx(image(view, 700, 300))


def test_views_hold_from_their_onset_until_the_next():
    viewing = Viewing((Viewport(), Viewport(100, 0, 2, 2, onset_ms=50), Viewport(0, 100, 1, 1, onset_ms=80)))
    time = np.array([-10.0, 49.999, 50.0, 79.0, 80.0, 1e9])
    assert viewing.index(time).tolist() == [0, 0, 1, 1, 2, 2]
    x, y = viewing.to_image(time, np.full(6, 120.0), np.full(6, 120.0))
    assert x.tolist() == [120, 120, 9.75, 9.75, 120, 120]
    assert y.tolist() == [120, 120, 59.75, 59.75, 20, 20]


def test_a_first_view_that_begins_late_holds_for_what_was_before():
    assert Viewing((Viewport(onset_ms=40), Viewport(onset_ms=90))).index(np.array([0.0, 91.0])).tolist() == [0, 1]


def test_lost_samples_stay_lost():
    x, y = Viewing((Viewport(3, 4, 2, 2),)).to_image(np.zeros(2), np.array([math.nan, 3]), np.array([1, math.nan]))
    assert np.isnan(x).tolist() == [True, False]
    assert np.isnan(y).tolist() == [False, True]


NUMBER = st.floats(-5e3, 5e3)
ZOOM = st.floats(0.05, 40)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(NUMBER, NUMBER, ZOOM, ZOOM), min_size=1, max_size=5),
    st.lists(st.tuples(st.floats(-10, 60), NUMBER, NUMBER), min_size=1, max_size=8),
)
def test_screen_to_image_and_back(views, looks):
    viewing = Viewing(tuple(Viewport(*view, onset_ms=10.0 * k) for k, view in enumerate(views)))
    time, x, y = np.array(looks).T
    back = viewing.to_screen(time, *viewing.to_image(time, x, y))
    np.testing.assert_allclose(back, (x, y), atol=1e-6)
    single = viewing.viewports[0]
    np.testing.assert_allclose(single.to_screen(*single.to_image(x, y)), (x, y), atol=1e-6)


def test_degrees_by_hand():
    # 50 cm away: 50 cm right of the middle are 45 degrees; there are 20 px to a cm
    x, y = to_degrees(np.array([499.5, 999.5, -0.5]), np.array([249.5, 499.5, 249.5]), SCREEN)
    np.testing.assert_allclose(x, [0, math.degrees(math.atan(0.5)), -math.degrees(math.atan(0.5))])
    np.testing.assert_allclose(y, [0, math.degrees(math.atan(0.25)), 0], atol=1e-12)
    assert px_per_degree(SCREEN) == pytest.approx(50 * math.tan(math.pi / 180) * 20)
    np.testing.assert_allclose(from_degrees(x, y, SCREEN), ([499.5, 999.5, -0.5], [249.5, 499.5, 249.5]))


@settings(max_examples=40, deadline=None)
@given(NUMBER, NUMBER, st.floats(20, 200))
def test_degrees_and_back(x, y, distance):
    screen = ScreenGeometry(1920, 1080, 53.0, 30.0, distance)
    back = from_degrees(*to_degrees(np.array([x]), np.array([y]), screen), screen)
    np.testing.assert_allclose(back, [[x], [y]], atol=1e-6)


@pytest.mark.parametrize("wrong", [{"zoom_x": 0.0}, {"zoom_y": -1.0}, {"left_px": math.nan}])
def test_a_viewport_that_shows_nothing_is_refused(wrong):
    with pytest.raises(DataError, match="zoom above 0"):
        Viewport(**wrong)


def test_views_out_of_order_or_none_at_all_are_refused():
    with pytest.raises(DataError, match="must rise"):
        Viewing((Viewport(onset_ms=5), Viewport(onset_ms=5)))
    with pytest.raises(DataError, match="where on the screen"):
        Viewing(())
