"""A real local endpoint that is slow, busy, broken or gone; what leaves the machine; what a run leaves behind."""

import base64
import io
import json
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image

from gazeseg.errors import ConfigError, DataError
from gazeseg.text.describe import RefusedError, UnreachableError, describe
from gazeseg.text.openai import ATTEMPTS, LARGEST_ANSWER, OpenAIDescriber, _retry_after, encode_pixels
from gazeseg.text.schema import prompt, prompt_hash

KEY = "sk-very-secret-0123456789"


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def make(dataset, endpoint, **changes) -> OpenAIDescriber:
    arguments = {"base_url": endpoint.url, "model": "looker", "timeout_s": 5.0, "back_off_s": 0.01} | changes
    return OpenAIDescriber(dataset, "polyp", **arguments)


def ask(dataset, endpoint, **changes):
    return make(dataset, endpoint, **changes).describe(dataset.cases[1])


def test_pixels_and_the_prompt_are_all_that_leaves(dataset, endpoint, secrets):
    assert ask(dataset, endpoint).characteristics == ("round", "sessile")
    ((path, headers, sent, _),) = endpoint.requests
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {KEY}"
    body = json.loads(sent)
    assert set(body) == {"model", "temperature", "max_tokens", "messages"}
    system, user = body["messages"]
    assert system == {"role": "system", "content": prompt("polyp")}
    (part,) = user["content"]
    encoded = base64.b64decode(part["image_url"]["url"].removeprefix("data:image/jpeg;base64,"), validate=True)
    original = dataset.cases[1].image.read_bytes()
    for secret in secrets:
        assert secret.encode() not in encoded + sent
    assert all(secret.encode() in original for secret in secrets[1:])  # the file does tell
    with Image.open(io.BytesIO(encoded)) as picture:
        assert not picture.getexif()
        assert set(picture.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
        pixels = np.asarray(picture).astype(int)
    assert np.abs(pixels - dataset.image(dataset.cases[1])).mean() < 3
    assert "Doe" not in json.dumps(headers)


def test_large_images_are_reduced_and_grey_ones_stay_grey():
    with Image.open(io.BytesIO(encode_pixels(np.zeros((1500, 3000, 3), np.uint8)))) as picture:
        assert picture.size == (1024, 512)
    with Image.open(io.BytesIO(encode_pixels(np.zeros((40, 50, 1), np.uint8)))) as picture:
        assert (picture.size, picture.mode) == ((50, 40), "L")


def test_without_a_key_none_is_sent(dataset, endpoint, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    ask(dataset, endpoint)
    assert "Authorization" not in endpoint.requests[0][1]


def test_busy_then_well_and_the_wait_is_as_long_as_asked(dataset, endpoint, reply, say, answer):
    endpoint.script = lambda n, _: reply(429, headers={"Retry-After": "0.6"}) if n == 0 else say(answer)
    assert ask(dataset, endpoint).location == "centre"
    assert endpoint.requests[1][3] - endpoint.requests[0][3] >= 0.6


@pytest.mark.parametrize("status", [500, 502, 503, 529])
def test_a_failing_server_is_asked_a_bounded_number_of_times(dataset, endpoint, reply, status):
    endpoint.script = lambda n, _: reply(status, b'{"error": {"message": "overloaded"}}')
    with pytest.raises(DataError, match=rf"status {status}: overloaded \({ATTEMPTS} attempts\)") as caught:
        ask(dataset, endpoint)
    assert not isinstance(caught.value, UnreachableError)
    assert len(endpoint.requests) == ATTEMPTS


def test_waits_double(dataset, endpoint, reply):
    endpoint.script = lambda n, _: reply(500)
    with pytest.raises(DataError):
        ask(dataset, endpoint, back_off_s=0.1)
    times = [request[3] for request in endpoint.requests]
    gaps = np.diff(times)
    assert all(gap >= wait for gap, wait in zip(gaps, (0.1, 0.2, 0.4), strict=True))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("no json at all", "the answer"),
        ("{'location': 'centre'}", "the answer"),
        ('{"location": "centre"', "the answer"),
        ("", "empty"),
        ({"location": "in the caecum"}, "vocabulary"),
        ({"characteristics": ["spiculated"]}, "spiculated"),
        ({"area_percentage": 140}, "area_percentage"),
        ({"diagnosis": "adenoma"}, "diagnosis"),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value),
)
def test_an_answer_outside_the_vocabulary_is_asked_for_again_and_then_given_up(
    dataset, endpoint, say, answer, content, said
):
    wrong = answer | content if isinstance(content, dict) else content
    endpoint.script = lambda n, _: say(wrong)
    with pytest.raises(DataError, match=said):
        ask(dataset, endpoint)
    assert len(endpoint.requests) == ATTEMPTS


def test_a_refused_answer_goes_back_with_the_reason(dataset, endpoint, say, answer):
    endpoint.script = lambda n, _: say(answer | {"location": "rectum"}) if n == 0 else say(answer)
    assert ask(dataset, endpoint).location == "centre"
    messages = json.loads(endpoint.requests[1][2])["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert "'rectum' is not in the vocabulary" in messages[-1]["content"]


@pytest.mark.parametrize("around", ["```json\n{}\n```", "Here it is: {} Anything else?"])
def test_an_object_among_other_words_is_found(dataset, endpoint, say, answer, around):
    endpoint.script = lambda n, _: say(around.replace("{}", json.dumps(answer)))
    assert ask(dataset, endpoint).location == "centre"
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"choices": []}', b'{"choices": [{"message": {"content": 3}}]}'])
def test_what_is_no_chat_completion_is_refused(dataset, endpoint, reply, body):
    endpoint.script = lambda n, _: reply(200, body)
    with pytest.raises(DataError, match=r"no chat completion|empty"):
        ask(dataset, endpoint)


def test_an_oversized_answer_is_cut_off(dataset, endpoint, reply):
    endpoint.script = lambda n, _: reply(200, b" " * (LARGEST_ANSWER + 70_000))
    with pytest.raises(DataError, match="larger than"):
        ask(dataset, endpoint)


@pytest.mark.parametrize("slow", [{"wait_s": 2.0}, {"drip_s": 0.05}], ids=["silent", "dripping"])
def test_a_slow_answer_ends_after_the_timeout(dataset, endpoint, reply, slow):
    endpoint.script = lambda n, _: reply(200, b"x" * 60, **slow)
    with pytest.raises(UnreachableError, match=r"no answer within 0\.3 s"):
        ask(dataset, endpoint, timeout_s=0.3)
    first, last = endpoint.requests[0][3], endpoint.requests[-1][3]
    assert last - first < 3.0


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_every_image_would_be_refused_for_is_asked_once(dataset, endpoint, reply, status):
    body = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}"}}).encode()
    endpoint.script = lambda n, _: reply(status, body)
    with pytest.raises(RefusedError, match=f"status {status}") as caught:
        ask(dataset, endpoint)
    assert KEY not in str(caught.value)
    assert len(endpoint.requests) == 1


def test_a_redirect_is_not_followed(dataset, endpoint, reply):
    endpoint.script = lambda n, _: reply(307, headers={"Location": f"{endpoint.url}/elsewhere"})
    with pytest.raises(RefusedError, match="status 307"):
        ask(dataset, endpoint)
    assert len(endpoint.requests) == 1


def test_a_bad_request_fails_one_image_without_asking_again(dataset, endpoint, reply):
    endpoint.script = lambda n, _: reply(400, b'{"error": "image too small"}')
    with pytest.raises(DataError, match="image too small"):
        ask(dataset, endpoint)
    assert len(endpoint.requests) == 1


def test_the_rate_spaces_requests(dataset, endpoint):
    describer = make(dataset, endpoint, rate=300)
    for case in dataset.cases[:4]:
        describer.describe(case)
    times = [request[3] for request in endpoint.requests]
    assert times[-1] - times[0] >= 3 * 0.2 - 0.05


@pytest.mark.parametrize("url", ["ftp://host/v1", "host/v1", "https://", "https://me:pw@host/v1", "file:///etc"])
def test_an_address_that_is_none_is_refused(dataset, endpoint, url):
    with pytest.raises(ConfigError, match="--base-url"):
        make(dataset, endpoint, base_url=url)
    for change in ({"rate": 0}, {"timeout_s": 0}):
        with pytest.raises(ConfigError, match="must be above 0"):
            make(dataset, endpoint, **change)


def test_retry_after_is_a_number_or_a_date():
    now = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
    assert _retry_after("7") == 7
    assert _retry_after("-3") == 0
    assert _retry_after("Thu, 01 Jan 2026 12:00:30 GMT", lambda: now) == 30
    assert _retry_after("Thu, 01 Jan 2026 11:00:00 GMT", lambda: now) == 0
    assert _retry_after("soon") is None
    assert _retry_after(None) is None


def test_an_endpoint_that_goes_down_half_way(dataset, endpoint, tmp_path, capsys):
    served = []

    def script(number, body):
        served.append(number)
        if number == 1:
            endpoint.server.socket.close()  # the third connection finds nobody
        return original(number, body)

    original = endpoint.script
    endpoint.script = script
    out = tmp_path / "text"
    describer = make(dataset, endpoint)
    # six training images, one worker: two are served, then four attempts each until the rest is given up
    endpoint_down = describe(dataset, describer, out, "polyp", workers=1)
    assert 1 <= len(endpoint_down.entries) < 6
    assert len(endpoint_down.entries) + len(endpoint_down.failures) + endpoint_down.untried == 6
    assert all("no answer" in reason for reason in endpoint_down.failures.values())
    assert len((out / "descriptions.jsonl").read_text().splitlines()) == len(endpoint_down.entries)
    kept = len(endpoint_down.entries)

    from_before = type(endpoint)()
    try:
        again = make(dataset, from_before)
        outcome = describe(dataset, again, out, "polyp", workers=2)
        assert (len(outcome.entries), outcome.cached, outcome.failures, outcome.untried) == (6, kept, {}, 0)
        assert len(from_before.requests) == 6 - kept
        third = describe(dataset, again, out, "polyp", workers=2)
        assert (third.cached, len(from_before.requests)) == (6, 6 - kept)
    finally:
        from_before.stop()
    for path in out.rglob("*"):
        assert path.is_dir() or KEY not in path.read_text(encoding="utf-8")
    assert KEY not in "".join(capsys.readouterr())


def test_a_wrong_key_stops_at_once_and_keeps_what_was_done(dataset, endpoint, reply, say, answer, tmp_path):
    endpoint.script = lambda n, _: say(answer) if n < 2 else reply(401, b"{}")
    with pytest.raises(RefusedError, match="2 images were described before"):
        describe(dataset, make(dataset, endpoint), tmp_path / "text", "polyp", workers=1)
    assert len(endpoint.requests) == 3
    assert len((tmp_path / "text" / "descriptions.jsonl").read_text().splitlines()) == 2


def test_another_model_is_another_cache(dataset, endpoint, tmp_path):
    for model in ("one", "two", "one"):
        describe(dataset, make(dataset, endpoint, model=model), tmp_path / "text", "polyp", workers=2)
    assert len(endpoint.requests) == 12
    first = json.loads((tmp_path / "text" / "descriptions.jsonl").read_text().splitlines()[0])
    assert (first["provider"], first["model"], first["prompt_hash"]) == ("openai", "one", prompt_hash("polyp"))
    assert "note" not in first
