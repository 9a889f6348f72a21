#!/usr/bin/env python3
"""A desktop client in one file: every call that a learner's app makes, in the order in which it makes them.

Read it from the bottom: `run` is the story, `DesktopClient` has one method for each chapter of it, and the
classes above hold what every client needs: calls with tokens, downloads, and the queue of what is to be sent.

Two generations of the client are in the field, and one server serves both. G1 addresses a chapter by its
`chapter_code` and joins by `course_code`, G2 addresses it by its `id` and joins by `invite_code`; the smaller
differences are commented where they matter.

    python examples/desktop_client.py --base-url http://127.0.0.1:10723
"""

import argparse
import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import sys
import tarfile
import tempfile
import time
import uuid
import zlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import httpx

Json = dict[str, Any]
Generation = Literal["g1", "g2"]

REQUEST_TIMEOUT_SECONDS = 30.0
# G2 refreshes before a call once less than this is left of its access token; G1 waits for the 401.
REFRESH_AHEAD_SECONDS = 300.0

DOWNLOAD_TRIES = 5
DOWNLOAD_FIRST_DELAY_SECONDS = 0.5

QUEUE_TRIES = 5
QUEUE_FIRST_DELAY_SECONDS = 1.5

# Both generations send this constant in their normal check, whatever they really are. G2 tells its real version only
# when it checks its Python runtime; the server remembers that one.
CLIENT_VERSION = "0.1.0"


class ClientError(Exception):
    """Something that ends the run, said in one sentence."""


class UnreachableError(ClientError):
    """No answer came: refused, timed out, or broken on the way."""


class DownloadError(ClientError):
    """A bundle could not be fetched, verified or unpacked."""


class ApiError(ClientError):
    """The server answered with an error; learners read its `message`, programs its `code`."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{message.rstrip('.')} ({code}).")
        self.status = status
        self.code = code

    @classmethod
    def from_response(cls, response: httpx.Response) -> "ApiError":
        """Read the one error shape; a proxy in between may have answered in another one."""
        try:
            error = response.json()["error"]
            return cls(response.status_code, str(error["code"]), str(error["message"]))
        except (ValueError, KeyError, TypeError):
            status = response.status_code
            return cls(status, f"HTTP_{status}", f"The server answered {status} without saying why")

    @property
    def may_pass(self) -> bool:
        """Whether a later try of the same call can succeed."""
        return self.status == 429 or self.status >= 500


@dataclass
class State:
    """What survives a restart. One data folder is one device of one learner at one server."""

    path: Path
    base_url: str
    email: str = ""
    refresh_token: str = ""
    device_id: str = ""
    # Installed versions: by bundle type, by the scope of the chapter bundle, by the id of the expert.
    app: dict[str, str] = field(default_factory=dict)
    chapters: dict[str, str] = field(default_factory=dict)
    experts: dict[str, str] = field(default_factory=dict)
    # Calls that the server has not acknowledged yet, oldest first: {"path", "body"}.
    queue: list[Json] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path, base_url: str) -> "State":
        state = cls(path, base_url)
        if not path.exists():
            return state
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            known = {f.name for f in fields(cls)} - {"path"}
            for name, value in stored.items():
                if name in known:
                    setattr(state, name, value)
        except (ValueError, AttributeError) as error:
            raise ClientError(f"{path} can't be read: {error}.") from error
        if state.base_url != base_url:
            # A refresh token must never be sent to a server that didn't issue it.
            raise ClientError(f"{path.parent} belongs to {state.base_url}; choose another --data-dir.")
        return state

    def save(self) -> None:
        """Replace the file in one step; as a temporary file its mode is 0600, which the refresh token needs."""
        content = {name: value for name, value in asdict(self).items() if name != "path"}
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=self.path.parent, delete=False) as file:
            json.dump(content, file, indent=2)
        os.replace(file.name, self.path)

    def installed(self, bundle: "Bundle") -> tuple[dict[str, str], str]:
        """Return where the version of such a bundle is kept, and under which name."""
        if bundle.bundle_type in ("chapter", "experts"):
            return self.chapters if bundle.bundle_type == "chapter" else self.experts, bundle.scope_id
        return self.app, bundle.bundle_type

    def forget_session(self) -> None:
        """Drop the credentials; what is installed and what is queued stays."""
        self.refresh_token = ""
        self.save()


class Api:
    """Calls to the server: the tokens, the device id and the errors."""

    def __init__(self, http: httpx.Client, state: State, generation: Generation) -> None:
        self.http = http
        self.state = state
        self.generation = generation
        self.refreshes = 0
        # The access token is never written to disk: a new start gets a new one by its refresh token.
        self.access_token = ""
        self._expires_at = 0.0

    def call_public(self, path: str, body: Json, headers: dict[str, str] | None = None) -> Json:
        """Make a call of /v1/auth/*, which takes no access token."""
        return read_answer(self._send("POST", path, body, headers or {}))

    def call(self, method: str, path: str, body: Json | None = None) -> Json:
        """Make a call with the access token. On a 401, refresh once and repeat the call once."""
        if self.generation == "g2" and self._expires_at - time.monotonic() < REFRESH_AHEAD_SECONDS:
            self.refresh()
        response = self._send(method, path, body, self._headers())
        if response.status_code == 401:
            say("The access token is not accepted any more: refreshing it.")
            self.refresh()
            response = self._send(method, path, body, self._headers())
        return read_answer(response)

    def start_session(self, path: str, body: Json) -> Json:
        """Register or log in, and return the `user`.

        On a fresh install the `device_id` sent here is a random one, and the one that is kept is made only
        afterwards; the server takes the first one that it sees after the login for the session's.
        """
        headers = {"X-Device-Id": str(uuid.uuid4())} if self.generation == "g1" else {}
        device_id = self.state.device_id or str(uuid.uuid4())
        answer = self.call_public(path, body | {"device_id": device_id}, headers)
        self._take_access_token(answer)
        self.state.device_id = self.state.device_id or str(uuid.uuid4())
        self.state.refresh_token = answer["refresh_token"]
        self.state.email = answer["user"]["email"]
        self.state.save()
        user: Json = answer["user"]
        return user

    def refresh(self) -> None:
        """Get a new access token. The refresh token stays the same for the whole login.

        When that fails, G1 logs the learner out whatever the reason, G2 only if the server refused.
        """
        body = {"refresh_token": self.state.refresh_token, "device_id": self.state.device_id}
        try:
            answer = self.call_public("/v1/auth/refresh", body)
        except ClientError as error:
            refused = isinstance(error, ApiError) and error.status < 500
            if refused or self.generation == "g1":
                self.state.forget_session()
            raise
        self._take_access_token(answer)
        self.refreshes += 1

    def spoil_access_token(self) -> None:
        """Make the token in hand one that the server must refuse, as if it had expired."""
        content, dot, signature = self.access_token.rpartition(".")
        self.access_token = content + dot + signature[::-1]
        # The client must not see it coming, or a G2 would refresh ahead and never meet the 401.
        self._expires_at = time.monotonic() + 2 * REFRESH_AHEAD_SECONDS

    def _take_access_token(self, answer: Json) -> None:
        self.access_token = answer["access_token"]
        # The clock of this machine may be wrong, so no time of day is compared with the server's.
        self._expires_at = time.monotonic() + float(answer["access_token_expires_in"])

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.access_token}", "X-Device-Id": self.state.device_id}

    def _send(self, method: str, path: str, body: Json | None, headers: dict[str, str]) -> httpx.Response:
        try:
            return self.http.request(method, path, json=body, headers=headers)
        except httpx.TransportError as error:
            reason = str(error).rstrip(".") or type(error).__name__
            message = f"The server at {self.state.base_url} can't be reached: {reason}."
            raise UnreachableError(message) from error


def read_answer(response: httpx.Response) -> Json:
    """Return the body of a 2xx answer; raise what any other one says."""
    if not response.is_success:
        raise ApiError.from_response(response)
    try:
        answer = response.json()
    except ValueError as error:
        raise ClientError(f"{response.url} answered with something that isn't JSON.") from error
    if not isinstance(answer, dict):
        raise ClientError(f"{response.url} answered with JSON that isn't an object.")
    return answer


@dataclass(frozen=True)
class Bundle:
    """The descriptor of a bundle: what to fetch, and how to know that it arrived whole."""

    bundle_type: str
    scope_id: str
    version: str
    artifact_url: str
    sha256: str
    size_bytes: int

    @classmethod
    def from_descriptor(cls, descriptor: Json) -> "Bundle":
        return cls(**{f.name: descriptor[f.name] for f in fields(cls)})

    def __str__(self) -> str:
        return f"{self.bundle_type}/{self.scope_id} {self.version}"

    @property
    def folder(self) -> Path:
        """Where the bundle is installed, below the folder of all bundles."""
        return Path(folder_name(self.bundle_type), folder_name(self.scope_id), folder_name(self.version))


def folder_name(text: str) -> str:
    """Make a folder name of a part of a bundle's identity, the same in both generations."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", text)
    if not name.strip("."):
        raise DownloadError(f"{text!r} can't be the name of a folder.")
    return name


def listed(answer: Json) -> list[Bundle]:
    """Return the bundles that a check lists, in the order in which they are to be installed."""
    return [Bundle.from_descriptor(item) for item in answer["required"] + answer.get("optional", [])]


def tell_blocked(answer: Json) -> None:
    """Say what is newer than what this device can have, and which app or sidecar it takes to have it."""
    for item in answer.get("blocked", []):
        parts = {"app": item.get("min_desktop_version"), "sidecar": item.get("min_sidecar_version")}
        needed = " and ".join(f"{part} {version} or newer" for part, version in parts.items() if version)
        say(f"  {item['bundle_type']}/{item['scope_id']} {item['version']}: needs {needed}")


class ProgressBar:
    """A live bar on a terminal; elsewhere nothing but the closing line."""

    WIDTH = 30

    def __init__(self, label: str, total_bytes: int) -> None:
        self.label = label
        self.total_bytes = total_bytes
        self._live = sys.stdout.isatty()
        self._shown_percent = -1

    def show(self, done_bytes: int) -> None:
        percent = min(100, 100 * done_bytes // max(1, self.total_bytes))
        if not self._live or percent == self._shown_percent:
            return
        self._shown_percent = percent
        bar = ("#" * (self.WIDTH * percent // 100)).ljust(self.WIDTH, ".")
        print(f"\r  [{bar}] {percent:3d} %  {self.label}", end="", flush=True)

    def finish(self, result: str) -> None:
        erase_line = "\r\x1b[K" if self._live else ""
        print(f"{erase_line}  {self.label}: {result}", flush=True)


class Installer:
    """Downloads bundles, verifies them and puts each into its folder in one step."""

    def __init__(self, api: Api, data_dir: Path) -> None:
        self.api = api
        self.bundles = data_dir / "bundles"
        self.downloads = data_dir / "downloads"

    def install(self, bundle: Bundle) -> None:
        """Install a bundle; a folder that is there already is complete, and its bytes never change."""
        target = self.bundles / bundle.folder
        if target.exists():
            say(f"  {bundle}: is there already")
            return
        bar = ProgressBar(str(bundle), bundle.size_bytes)
        self._ask_for_credentials(bundle)
        part = self.downloads / ("__".join(bundle.folder.parts) + ".part")
        part.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._download(bundle, part, bar)
            verify(bundle, part)
            unpack(part, target)
        except DownloadError as error:
            bar.finish(f"failed ({error})")
            raise
        part.unlink()
        bar.finish(f"{bundle.size_bytes:,} bytes, verified and installed")

    def _ask_for_credentials(self, bundle: Bundle) -> None:
        """Ask for access to the object storage itself, as the shipped clients do before every install.

        A server without object storage answers 503, which the clients ignore: they download by URL then. So
        does this one in any case, since only an SDK of the storage could use the answer.
        """
        prefix = f"bundles/{bundle.bundle_type}/{bundle.scope_id}/{bundle.version}/"
        body = {"duration_seconds": 900, "allowed_prefixes": [prefix]}
        try:
            self.api.call("POST", "/v1/oss/download-credentials", body)
        except ApiError as error:
            if error.status != 503:
                raise

    def _download(self, bundle: Bundle, part: Path, bar: ProgressBar) -> None:
        """Fetch until all bytes are there. A broken connection costs a try, not the bytes that came."""
        reason = "the connection broke"
        for attempt in range(DOWNLOAD_TRIES):
            if attempt:
                time.sleep(DOWNLOAD_FIRST_DELAY_SECONDS * 2 ** (attempt - 1))
            try:
                self._fetch_rest(bundle, part, bar)
            except httpx.TransportError as error:
                reason = str(error) or type(error).__name__
            if size_of(part) == bundle.size_bytes:
                return
        received = f"{size_of(part):,} of {bundle.size_bytes:,} bytes"
        raise DownloadError(f"{received} came in {DOWNLOAD_TRIES} tries: {reason}")

    def _fetch_rest(self, bundle: Bundle, part: Path, bar: ProgressBar) -> None:
        """Append what is missing. The URL is complete in itself: no Authorization header goes along."""
        have = size_of(part)
        if have > bundle.size_bytes:
            part.unlink()
            have = 0
        # A compressed transfer would change the byte positions that Range counts by.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        request = self.api.http.stream("GET", bundle.artifact_url, headers=headers, follow_redirects=True)
        with request as response:
            if not response.is_success:
                response.read()
                raise DownloadError(str(ApiError.from_response(response)).rstrip("."))
            # 206 goes on where we stopped; with 200 the server sends everything from the start.
            resumes = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            with part.open("ab" if response.status_code == 206 and resumes else "wb") as file:
                for chunk in response.iter_raw():
                    file.write(chunk)
                    bar.show(file.tell())
                    if file.tell() > bundle.size_bytes:
                        raise DownloadError(f"more than the promised {bundle.size_bytes:,} bytes came")


def size_of(path: Path) -> int:
    """Return the size of a file, 0 when there is none."""
    return path.stat().st_size if path.exists() else 0


def verify(bundle: Bundle, part: Path) -> None:
    """Refuse bytes that are not the announced ones, and delete them, so that the next try starts afresh."""
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    # An empty sha256 means that the server doesn't know it; the size has been checked.
    if bundle.sha256 and digest != bundle.sha256:
        part.unlink()
        raise DownloadError(f"its SHA-256 is {digest} instead of {bundle.sha256}")


def unpack(archive: Path, target: Path) -> None:
    """Unpack beside the target and rename, so that an interrupted run leaves no half bundle behind."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".unpack-") as temporary:
        content = Path(temporary, "content")
        try:
            with tarfile.open(archive, "r:gz") as tar:
                for member in tar:
                    extract_member(tar, member, content)
        except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
            archive.unlink()
            raise DownloadError(f"it can't be unpacked: {error}") from error
        content.rename(target)


def extract_member(tar: tarfile.TarFile, member: tarfile.TarInfo, content: Path) -> None:
    """Write one file of a bundle below `content`; a bundle has files and folders, and nothing else.

    Written out rather than left to `extractall(filter="data")`, which Python has only since 3.11.4.
    """
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name or ":" in member.name:
        raise tarfile.TarError(f"{member.name!r} leads out of the bundle's folder")
    destination = content / path
    if member.isdir():
        destination.mkdir(parents=True, exist_ok=True)
        return
    source = tar.extractfile(member) if member.isfile() else None
    if source is None:
        raise tarfile.TarError(f"{member.name!r} is neither a file nor a folder")
    destination.parent.mkdir(parents=True, exist_ok=True)
    with destination.open("xb") as file:
        shutil.copyfileobj(source, file)


class Queue:
    """What the server must get to know, however long it takes: kept on disk until it says 200."""

    def __init__(self, api: Api, dead_letters: Path, sleep: Callable[[float], None] = time.sleep) -> None:
        self.api = api
        self.dead_letters = dead_letters
        self.sleep = sleep

    def add(self, path: str, body: Json) -> None:
        self.api.state.queue.append({"path": path, "body": body})
        self.api.state.save()

    def flush(self) -> list[Json]:
        """Send everything, oldest first, and return the answers.

        A server that can't be reached costs no try: the error leaves the queue as it is for the next run.
        """
        answers = []
        state = self.api.state
        while state.queue:
            try:
                answers.append(self._send(**state.queue[0]))
            except ApiError as error:
                self._bury(state.queue.pop(0), error)
                state.save()
                raise
            state.queue.pop(0)
            state.save()
        return answers

    def _send(self, path: str, body: Json) -> Json:
        """Send one item unchanged, again and again while a later try may succeed."""
        for attempt in range(QUEUE_TRIES - 1):
            try:
                return self.api.call("POST", path, body)
            except ApiError as error:
                if not error.may_pass:
                    raise
                delay = QUEUE_FIRST_DELAY_SECONDS * 2**attempt
                say(f"  {error} Trying again in {delay:g} s.")
                self.sleep(delay)
        return self.api.call("POST", path, body)

    def _bury(self, item: Json, error: ApiError) -> None:
        """Keep what the server will never take, for a person to look at."""
        with self.dead_letters.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"item": item, "error": str(error)}) + "\n")


class DesktopClient:
    """What a learner does with the app, one method each."""

    def __init__(self, api: Api, data_dir: Path, desktop_version: str = CLIENT_VERSION) -> None:
        self.api = api
        self.generation = api.generation
        self.desktop_version = desktop_version
        self.state = api.state
        self.installer = Installer(api, data_dir)
        self.queue = Queue(api, data_dir / "dead-letter.jsonl")

    def resume_session(self) -> bool:
        """Go on with the login of an earlier run, if there is one.

        Any error that the server answers at launch logs the learner out, as in the shipped clients. (They do
        so also when it can't be reached. A new client should not.)
        """
        if not self.state.refresh_token:
            return False
        try:
            self.api.refresh()
            self.api.call("GET", "/v1/me")
        except ApiError as error:
            self.state.forget_session()
            say(f"The earlier login has ended: {error}")
            return False
        say(f"Went on as {self.state.email}.")
        return True

    def register(self, email: str, password: str, code: str | None, invite: str | None) -> None:
        """Make an account. Outside production the server tells the code that it would have mailed."""
        # Asking for a new code voids the one in hand.
        code = code or self._request_code(email)
        body: Json = {"email": email, "password": password, "verification_code": code}
        if self.generation == "g2":
            body["invite_code"] = invite or ""
        user = self.api.start_session("/v1/auth/register", body)
        say(f"Registered {user['email']} with the password {password}")

    def log_in(self, email: str, password: str) -> None:
        user = self.api.start_session("/v1/auth/login", {"email": email, "password": password})
        say(f"Logged in as {user['email']}.")

    def log_in_or_register(self, email: str, password: str, code: str | None, invite: str | None) -> None:
        """Log in when the account exists, else make it.

        The login goes first, so that coming back doesn't use up the few codes that an address may ask for. A
        server that conceals its accounts says INVALID_CREDENTIALS for an unknown email as well: then only
        registering tells.
        """
        try:
            self.log_in(email, password)
        except ApiError as login_error:
            if login_error.code not in ("INVALID_CREDENTIALS", "USER_NOT_FOUND"):
                raise
            try:
                self.register(email, password, code, invite)
            except ApiError as register_error:
                taken = register_error.code == "EMAIL_ALREADY_REGISTERED"
                raise (login_error if taken else register_error) from None

    def _request_code(self, email: str) -> str:
        body = {"email": email, "purpose": "register"}
        code = self.api.call_public("/v1/auth/request-email-code", body)["dev_code"]
        if not code:
            raise ClientError(f"A code was mailed to {email}; run again with --email, --password and --code.")
        return str(code)

    def join_course(self, course_code: str, invite_code: str | None) -> Json:
        """Join a course; joining again answers the same."""
        body = {"invite_code": invite_code} if invite_code else {"course_code": course_code}
        course: Json = self.api.call("POST", "/v1/courses/join", body)["course"]
        say(f"Joined {course['course_code']}: {course['title']}.")
        return course

    def list_courses(self) -> None:
        for course in self.api.call("GET", "/v1/courses/my")["courses"]:
            say(f"Course {course['course_code']}: {course['title']}, joined at {course['joined_at']}")

    def open_chapters(self, course_id: str) -> list[Json]:
        """List the chapters of a course and return those that the learner may open."""
        chapters: list[Json] = self.api.call("GET", f"/v1/courses/{course_id}/chapters")["chapters"]
        for chapter in chapters:
            say(f"  {chapter['order']}. {chapter['title']} ({chapter['status']})")
        return [chapter for chapter in chapters if not chapter["locked"]]

    def chapter_address(self, chapter: Json) -> str:
        """Return how this generation calls a chapter in every request."""
        return str(chapter["chapter_code"] if self.generation == "g1" else chapter["id"])

    def chapter_scope(self, course_id: str, chapter: Json) -> str:
        """Return the scope under which the server lists this chapter's bundle to this generation."""
        address = self.chapter_address(chapter)
        return f"{course_id}/{address}" if self.generation == "g1" else address

    def check_app(self) -> Json:
        """Ask which bundles of the app itself are not the current ones."""
        families = ["app_agents", "experts_shared"]
        if self.generation == "g2":
            # By this key the server knows a G2, which may be offered other families than these two.
            families.append("python_runtime")
        installed = dict.fromkeys(families, "") | self.state.app
        versions = {"desktop_version": self.desktop_version, "sidecar_version": CLIENT_VERSION}
        return self.api.call("POST", "/v1/updates/check-app", versions | {"installed": installed})

    def check_chapter(self, course_id: str, chapter: Json) -> Json:
        """Ask which bundles a chapter needs besides the installed ones: its own, and those of its experts."""
        installed = {
            "chapter_bundle": self.state.chapters.get(self.chapter_scope(course_id, chapter)),
            "experts": self.state.experts,
        }
        body = {"course_id": course_id, "chapter_id": self.chapter_address(chapter), "installed": installed}
        return self.api.call("POST", "/v1/updates/check-chapter", body)

    def update(self, answer: Json) -> None:
        """Install what a check lists. Newer or older is for the server to say: after a withdrawal it is an older one.

        G1 stops its whole update at the first bundle that fails; G2 goes on with the next.
        """
        tell_blocked(answer)
        failed = []
        for bundle in listed(answer):
            try:
                self.installer.install(bundle)
            except DownloadError as error:
                failed.append(f"{bundle} ({error})")
                if self.generation == "g1":
                    break
            else:
                self._note_installed(bundle)
        if failed:
            raise ClientError(f"Not installed: {', '.join(failed)}.")

    def _note_installed(self, bundle: Bundle) -> None:
        versions, name = self.state.installed(bundle)
        if before := versions.get(name):
            say(f"  {bundle}: takes the place of {before}")
        versions[name] = bundle.version
        self.state.save()

    def check_nothing_left(self, course_id: str, chapters: Iterable[Json]) -> None:
        """Check again with what is installed now; a server that still lists it keeps its clients busy."""
        left = listed(self.check_app())
        for chapter in chapters:
            left += listed(self.check_chapter(course_id, chapter))
        again = [str(bundle) for bundle in left if self._is_installed(bundle)]
        if again:
            raise ClientError(f"The server still lists what is installed: {', '.join(again)}.")
        changed = ", ".join(map(str, left))
        say(f"Changed meanwhile, for the next start: {changed}." if left else "Checked again: nothing to do.")

    def _is_installed(self, bundle: Bundle) -> bool:
        versions, name = self.state.installed(bundle)
        return versions.get(name) == bundle.version

    def report_opening(self, course_id: str, chapter: Json) -> None:
        """Queue what happens whenever a chapter is opened, also one that was completed before."""
        where = {"course_id": course_id, "chapter_id": self.chapter_address(chapter), "session_id": None}
        progress = where | {"status": "IN_PROGRESS", "task_snapshot": {}}
        self.queue.add("/v1/progress/chapter", progress)
        # One event a call and no event_id: the server derives one, so sending it twice stores it once.
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        event = where | {"event_type": "chapter_opened", "event_time": now, "payload": {"source": "example"}}
        self.queue.add("/v1/analytics/events:ingest", {"events": [event]})

    def flush_queue(self) -> None:
        """Send what is queued. The shipped clients do so every 30 s, and take any 200 for success."""
        answers = self.queue.flush()
        if any(answer.get("failed") for answer in answers):
            raise ClientError("The server took an event for malformed.")
        say(f"Reported progress and events: {len(answers)} calls.")

    def log_out(self) -> None:
        """End the session at the server, then here; the server says 200 for a session that is over, too."""
        self.api.call_public("/v1/auth/logout", {"refresh_token": self.state.refresh_token})
        self.state.email = ""
        self.state.forget_session()
        say("Logged out.")


def say(line: str) -> None:
    print(line, flush=True)


def start_session(client: DesktopClient, args: argparse.Namespace) -> None:
    """Go on with the stored login, or log in, or register: what the arguments and the data folder allow."""
    state = client.state
    if state.email and args.email and args.email.strip().lower() != state.email:
        # Queue and settings belong to a learner, and must not be sent in another one's name.
        raise ClientError(f"{state.email} is using this --data-dir; choose another one.")
    if client.resume_session():
        return
    email = args.email or state.email
    if email and args.password:
        client.log_in_or_register(email, args.password, args.code, args.invite_code)
    elif state.email:
        raise ClientError(f"{state.email} is logged out; give --password to log in again.")
    else:
        fresh_email = f"learner-{secrets.token_hex(6)}@example.com"
        password = args.password or secrets.token_hex(8)
        client.register(email or fresh_email, password, args.code, args.invite_code)


def run(args: argparse.Namespace, data_dir: Path, http: httpx.Client) -> None:
    """Tell the story of a learner's day, from the first start of the app to the logout."""
    state = State.load(data_dir / "state.json", args.base_url)
    api = Api(http, state, args.generation)
    client = DesktopClient(api, data_dir, args.desktop_version)

    start_session(client, args)
    me = api.call("GET", "/v1/me")
    say(f"The server knows {me['display_name']} as {me['id']}.")
    if args.simulate_expired_token:
        api.spoil_access_token()
    refreshes = api.refreshes

    course_id = client.join_course(args.course_code, args.invite_code)["id"]
    if args.simulate_expired_token and api.refreshes == refreshes:
        raise ClientError("The server accepted an access token with a wrong signature.")
    client.list_courses()

    say("Updating the app:")
    client.update(client.check_app())
    say("Chapters:")
    chapters = client.open_chapters(course_id)
    for chapter in chapters:
        say(f"Updating the chapter {chapter['title']}:")
        client.update(client.check_chapter(course_id, chapter))
    client.check_nothing_left(course_id, chapters)

    for chapter in chapters:
        client.report_opening(course_id, chapter)
    client.flush_queue()
    if args.logout:
        client.log_out()


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Do what the desktop client does, from register to logout.")
    add = parser.add_argument
    add("--base-url", default="http://127.0.0.1:10723", help="the server (default: %(default)s)")
    add("--generation", choices=["g1", "g2"], default="g2", help="which client to be (default: %(default)s)")
    add("--email", help="the learner's email (default: a fresh random one)")
    add("--password", help="the learner's password (default: a random one, which is printed)")
    add("--code", help="the code from the mail, where the server doesn't tell it")
    add("--course-code", default="SOC101", help="the course to join (default: %(default)s)")
    add("--invite-code", help="join by this code instead (g2 only)")
    add("--data-dir", type=Path, help="where to keep everything (default: a temporary folder)")
    add("--desktop-version", default=CLIENT_VERSION, help="tell that the app is of this version (g2 only)")
    add("--simulate-expired-token", action="store_true", help="spoil the access token on the way")
    add("--logout", action="store_true", help="log out at the end")
    args = parser.parse_args(arguments)
    args.base_url = args.base_url.rstrip("/")
    if args.invite_code and args.generation == "g1":
        parser.error("--invite-code: the first generation joins by course code only")
    if args.desktop_version != CLIENT_VERSION and args.generation == "g1":
        parser.error("--desktop-version: the first generation never tells its real version")
    if args.code and not args.email:
        parser.error("--code needs the --email that it was mailed to")
    return args


def open_data_dir(chosen: Path | None, stack: contextlib.ExitStack) -> Path:
    """Return the chosen folder, or a temporary one that goes away with the stack."""
    if chosen is None:
        temporary = Path(tempfile.mkdtemp(prefix="desktop-client-"))
        stack.callback(shutil.rmtree, temporary, ignore_errors=True)
        return temporary
    chosen.mkdir(mode=0o700, parents=True, exist_ok=True)
    return chosen


def main(arguments: list[str] | None = None) -> int:
    args = parse_arguments(arguments)
    with contextlib.ExitStack() as stack:
        try:
            data_dir = open_data_dir(args.data_dir, stack)
            http = stack.enter_context(httpx.Client(base_url=args.base_url, timeout=REQUEST_TIMEOUT_SECONDS))
            run(args, data_dir, http)
        except ClientError as error:
            print(f"Error: {error}", file=sys.stderr)
            return 1
        except httpx.InvalidURL as error:
            print(f"Error: {args.base_url} is no address of a server: {error}.", file=sys.stderr)
            return 1
    say("Done: everything works.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
