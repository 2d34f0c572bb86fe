"""Ask a vision-language model behind any OpenAI-compatible chat endpoint to describe an image.

What leaves the machine: the prompt, the name of the model, and the pixels of the image, encoded anew, so that no
header, file name, case id or patient goes with them. The key comes from the environment and appears in no message.
"""

from __future__ import annotations

import base64
import email.utils
import http.client
import io
import json
import os
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from PIL import Image

from gazeseg.data.dataset import Case, Dataset
from gazeseg.errors import ConfigError, DataError
from gazeseg.text.describe import RefusedError, UnreachableError, file_hash
from gazeseg.text.schema import Description, Domain, prompt, prompt_hash, read_description
from gazeseg.types import UInt8Array

KEY_VARIABLE: Final = "OPENAI_API_KEY"
LONGEST: Final = 1024  # px; larger images are reduced before they are sent
ATTEMPTS: Final = 4  # an image, answers outside the vocabulary included
LONGEST_WAIT_S: Final = 60.0  # between two attempts, whatever the server asks for
LARGEST_ANSWER: Final = 200_000  # bytes; a description has a few hundred
MOST_TOKENS: Final = 500
_BUSY: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_REFUSES_ALL: Final = frozenset({300, 301, 302, 303, 307, 308, 401, 402, 403, 404, 405})


class _RetryError(Exception):
    """This attempt failed in a way that another one may not."""

    def __init__(self, reason: str, *, wait_s: float | None = None, reached: bool = True) -> None:
        super().__init__(reason)
        self.wait_s = wait_s
        self.reached = reached


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would carry key and image to a host that nobody agreed to."""

    def redirect_request(self, *_args: object, **_kwargs: object) -> None:
        """Follow none; the status then counts as an error."""
        return


class OpenAIDescriber:
    """One image a request, with bounded retries. Safe to call from several threads."""

    name = "openai"

    def __init__(
        self,
        dataset: Dataset,
        domain: Domain,
        *,
        base_url: str,
        model: str,
        rate: float | None = None,
        timeout_s: float = 60.0,
        back_off_s: float = 1.0,
    ) -> None:
        """Prepare requests; sends nothing.

        Args:
            dataset: Where the pixels come from.
            domain: Decides the prompt and the vocabulary.
            base_url: The address that ``/chat/completions`` is below, e.g. ``https://api.openai.com/v1``.
            model: The model's name at that endpoint.
            rate: Most requests a minute, retries included; None: no limit.
            timeout_s: Longest time for one answer.
            back_off_s: Wait after the first failure; doubles with each.

        Raises:
            ConfigError: for an address that is none, or a limit that is not positive.
        """
        parts = urllib.parse.urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise ConfigError(
                "--base-url must look like https://host/v1, without user name; give the endpoint's address"
            )
        if rate is not None and rate <= 0:
            raise ConfigError(f"--rate must be above 0 requests a minute, got {rate:g}")
        if timeout_s <= 0:
            raise ConfigError(f"--timeout must be above 0 seconds, got {timeout_s:g}")
        self.host = parts.netloc
        self.model = model
        self.prompt_hash = prompt_hash(domain)
        self._dataset, self._domain = dataset, domain
        self._url = base_url.rstrip("/") + "/chat/completions"
        self._key = os.environ.get(KEY_VARIABLE, "").strip()
        self._timeout_s, self._back_off_s = timeout_s, back_off_s
        self._spacing_s = 60 / rate if rate else 0.0
        self._next = 0.0
        self._lock = threading.Lock()
        self._opener = urllib.request.build_opener(_NoRedirects)

    def hash(self, case: Case) -> str:
        """Hash the image file."""
        return file_hash(case.image)

    def describe(self, case: Case) -> Description:
        """Ask until an answer fits the vocabulary, at most four times.

        Raises:
            UnreachableError: if no attempt reached the endpoint.
            RefusedError: if the endpoint will refuse every image (key, model or address).
            DataError: if the image cannot be read, is refused, or no answer fits.
        """
        messages = self._messages(self._dataset.image(case))
        failure = _RetryError("not asked")
        reached = False
        for attempt in range(ATTEMPTS):
            if attempt:
                wait = self._back_off_s * 2 ** (attempt - 1) if failure.wait_s is None else failure.wait_s
                time.sleep(min(wait, LONGEST_WAIT_S))
            try:
                answer = self._content(self._post({"messages": messages}))
                reached = True
                try:
                    return read_description(_json_object(answer), self._domain, "the answer")
                except DataError as error:
                    # a model repeats itself unless it is told what was wrong
                    messages = [
                        *messages[:2],
                        {"role": "assistant", "content": answer[:2000]},
                        {"role": "user", "content": f"That was refused: {error}. Answer with the corrected object."},
                    ]
                    failure = _RetryError(str(error), wait_s=0.0)
            except _RetryError as error:
                failure = error
                reached = reached or error.reached
        reason = f"{self.host}: {failure} ({ATTEMPTS} attempts)"
        raise DataError(reason) if reached else UnreachableError(reason)

    def _messages(self, image: UInt8Array) -> list[dict[str, Any]]:
        url = f"data:image/jpeg;base64,{base64.b64encode(encode_pixels(image)).decode('ascii')}"
        return [
            {"role": "system", "content": prompt(self._domain)},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]},
        ]

    def _post(self, body: Mapping[str, Any]) -> bytes:
        """Send one request and return what comes back with status 200."""
        content = json.dumps({"model": self.model, "temperature": 0, "max_tokens": MOST_TOKENS, **body}).encode()
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "gazeseg"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(self._url, content, headers, method="POST")  # noqa: S310 -- http(s) only, as checked
        self._take_turn()
        deadline = time.monotonic() + self._timeout_s
        try:
            with self._opener.open(request, timeout=self._timeout_s) as response:
                return _read(response, deadline)
        except urllib.error.HTTPError as error:
            with error:
                raise self._judged(error) from None
        except TimeoutError:
            raise _RetryError(f"no answer within {self._timeout_s:g} s", reached=False) from None
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                reason = f"no answer within {self._timeout_s:g} s"
            raise _RetryError(self._safe(f"no answer ({reason})"), reached=False) from None

    def _judged(self, error: urllib.error.HTTPError) -> Exception:
        """Tell from a status whether to ask again, to give up this image, or to give up."""
        try:
            said = _message(error.read(2000))
        except (OSError, http.client.HTTPException):
            said = ""
        reason = self._safe(f"status {error.code}" + (f": {said}" if said else ""))
        if error.code in _BUSY:
            return _RetryError(reason, wait_s=_retry_after(error.headers.get("Retry-After")))
        if error.code in _REFUSES_ALL:
            return RefusedError(f"{self.host}: {reason}; check --base-url, --model and the key in {KEY_VARIABLE}")
        return DataError(f"{self.host}: {reason}")

    def _content(self, answer: bytes) -> str:
        """Return the words of the model."""
        try:
            content = json.loads(answer)["choices"][0]["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError):
            raise _RetryError("the answer is no chat completion") from None
        if not isinstance(content, str) or not content.strip():
            raise _RetryError("the answer is empty")
        return content

    def _take_turn(self) -> None:
        """Wait until the rate allows another request."""
        if not self._spacing_s:
            return
        with self._lock:
            turn = max(self._next, time.monotonic())
            self._next = turn + self._spacing_s
        time.sleep(max(0.0, turn - time.monotonic()))

    def _safe(self, message: str) -> str:
        """Take the key out of what a server says; some repeat it."""
        shown = " ".join(message.split())
        return shown.replace(self._key, "***") if self._key else shown


def encode_pixels(image: UInt8Array) -> bytes:
    """Encode uint8 (H, W, C) as a JPEG of nothing but pixels, at most 1024 px long."""
    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    picture.thumbnail((LONGEST, LONGEST))
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def _read(response: http.client.HTTPResponse, deadline: float) -> bytes:
    """Read an answer piece by piece, so that neither a huge nor a dripping one holds the run."""
    pieces: list[bytes] = []
    size = 0
    while piece := response.read1(65536):
        size += len(piece)
        if size > LARGEST_ANSWER:
            raise _RetryError(f"the answer is larger than {LARGEST_ANSWER} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError
        pieces.append(piece)
    return b"".join(pieces)


def _json_object(answer: str) -> Any:
    """Return the JSON object of an answer, also from inside a code fence; the answer itself where there is none."""
    found = re.search(r"\{.*\}", answer, flags=re.DOTALL)
    try:
        return json.loads(found[0]) if found else answer
    except ValueError:
        return answer


def _message(content: bytes) -> str:
    """Return the error text of an API, or the beginning of whatever came."""
    text = content.decode("utf-8", errors="replace")
    try:
        error = json.loads(text)["error"]
        text = error["message"] if isinstance(error, dict) else str(error)
    except (ValueError, KeyError, TypeError):
        pass
    return " ".join(str(text).split())[:200]


def _retry_after(value: str | None, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> float | None:
    """Return the seconds that a Retry-After header asks for: a number or an HTTP date."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (email.utils.parsedate_to_datetime(value) - now()).total_seconds())
    except (ValueError, TypeError):
        return None
