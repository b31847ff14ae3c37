"""Models of the Hugging Face hub: found by repository and file, downloaded into the hub's cache, resumed, checked."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from selar_local.cache import sha256_of
from selar_local.catalog.file_names import choose, missing_part, require_whole
from selar_local.catalog.hub_cache import cached_exactly, cached_files, hub_folder
from selar_local.errors import MissingExtra, ModelNotFound
from selar_local.install_hint import install_hint

_REFERENCE = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+?)(?::(?P<wanted>.+))?", re.ASCII)
_TIMEOUT = 20.0  # seconds for the list of a repository's files
_PAUSE = 1.0  # seconds before a broken connection is tried again
_LARGEST = 50 * 10**9  # bytes that one HTTP download may have on the hub


def find(reference: str, *, progress: bool = False) -> Path:
    """The (first) file of ``hf:owner/repo[:file-or-quant]``: from the cache where it names a file that is there.

    Else the hub is asked, and what is missing is downloaded. Raises `ModelNotFound`, `MissingExtra`.
    """
    repo, wanted = _parsed(reference)
    here = cached_exactly(hub_folder(), repo, wanted) if wanted else None
    return here or _download(repo, wanted, progress)


def pull(reference: str, *, progress: bool = False) -> Path:
    """The same, of the repository's newest state."""
    return _download(*_parsed(reference), progress)


def _parsed(reference: str) -> tuple[str, str | None]:
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise ModelNotFound(f"'{reference}' is not of the form hf:owner/repo or hf:owner/repo:file-or-quant")
    return match["repo"], match["wanted"]


def _download(repo: str, wanted: str | None, progress: bool) -> Path:
    folder, name = hub_folder(), f"hf:{repo}"
    try:
        import huggingface_hub as hub
    except ImportError as error:
        if cached := cached_files(folder, repo):
            return cached[require_whole(repo, choose(name, cached, wanted))[0]]
        raise MissingExtra(f"hf: needs the package huggingface_hub; {install_hint('hub')}") from error
    try:
        info = hub.HfApi().model_info(repo, files_metadata=True, timeout=_TIMEOUT)
        siblings = {sibling.rfilename: sibling for sibling in info.siblings or ()}
        parts = require_whole(repo, choose(name, siblings, wanted))
        with _bars(hub, progress):
            paths = [_fetched(hub, repo, info.sha, siblings[part], folder) for part in parts]
        return paths[0]
    except ModelNotFound:
        raise
    except Exception as error:  # each of its versions has its own HTTP library, with errors of its own
        cached = cached_files(folder, repo) if _is_unreachable(hub, error) else {}
        if not cached:
            raise ModelNotFound(_hub_message(hub, repo, error)) from error
        parts = choose(name, cached, wanted)
        if missing := missing_part(parts):
            raise ModelNotFound(f"{repo} cannot be reached, and the cache lacks {missing}") from error
        return cached[parts[0]]


def _fetched(hub: Any, repo: str, commit: str, sibling: Any, folder: Path | None) -> Path:
    """The file in the cache, downloaded if it is not there."""
    file, digest, size = sibling.rfilename, str(getattr(sibling.lfs, "sha256", "")), sibling.size or 0
    cached = hub.try_to_load_from_cache(repo, file, cache_dir=folder, revision=commit)
    blob = None
    if folder and not isinstance(cached, str) and re.fullmatch("[0-9a-f]{64}", digest) and 0 < size <= _LARGEST:
        blob = folder / f"models--{repo.replace('/', '--')}" / "blobs" / digest
        _fetch_blob(hub, hub.hf_hub_url(repo, file, revision=commit), blob, size, PurePosixPath(file).name)
    # This gives the blob its name in the cache. It also downloads what the hub gives no digest of.
    path = Path(hub.hf_hub_download(repo, file, cache_dir=folder))
    if blob is not None and not path.is_symlink():
        blob.unlink(missing_ok=True)  # where there are no links (Windows), the file is a copy
    return path


def _fetch_blob(hub: Any, url: str, blob: Path, size: int, name: str) -> None:
    """Download a blob, which its SHA-256 names. What an interrupted download left is continued.

    huggingface_hub continues a download within one call; newer versions forget the part when the call fails.
    """
    from huggingface_hub.utils import WeakFileLock

    repo_folder, part = blob.parent.parent, blob.with_name(f"{blob.name}.incomplete")
    lock = repo_folder.parent / ".locks" / repo_folder.name / f"{blob.name}.lock"  # as huggingface_hub has it
    for folder in (blob.parent, lock.parent):
        folder.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        if blob.exists():
            return
        if part.exists() and part.stat().st_size > size:
            part.unlink()
        while not _continued(hub, url, part, size, name):
            time.sleep(_PAUSE)
        if sha256_of(part) != blob.name:
            part.unlink()
            raise ModelNotFound(f"the download of {name} is damaged: its SHA-256 is not the hub's; download it again")
        part.replace(blob)


def _continued(hub: Any, url: str, part: Path, size: int, name: str) -> bool:
    """Download what `part` lacks; False where the connection broke after some bytes had come."""
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    with part.open("ab") as file:
        done = file.tell()
        try:
            headers = build_hf_headers()
            http_get(url, file, resume_size=done, headers=headers, expected_size=size, displayed_filename=name)
            return True
        except Exception as error:
            if not _is_unreachable(hub, error):
                raise
            have = file.tell()
            if have > done:
                return False
            kept = f"{have / 1e6:,.1f} of {size / 1e6:,.1f} MB"
            raise ModelNotFound(f"the download of {name} broke off at {kept}; the same command continues it") from error


@contextmanager
def _bars(hub: Any, progress: bool) -> Iterator[None]:
    """Hides the hub's progress bars meanwhile, unless they are wanted."""
    hide = not progress and not hub.utils.are_progress_bars_disabled()
    if hide:
        hub.utils.disable_progress_bars()
    try:
        yield
    finally:
        if hide:
            hub.utils.enable_progress_bars()


def _is_unreachable(hub: Any, error: Exception) -> bool:
    """No connection, offline by choice, or a server in trouble; not: a server that says no."""
    if isinstance(error, hub.errors.HfHubHTTPError):
        return getattr(error.response, "status_code", 0) >= 500
    if isinstance(error, (ConnectionError, TimeoutError, hub.errors.LocalEntryNotFoundError)):
        return True
    return type(error).__module__.partition(".")[0] in ("requests", "urllib3", "httpx", "httpx2", "httpcore")


def _hub_message(hub: Any, repo: str, error: Exception) -> str:
    errors = hub.errors
    if isinstance(error, errors.GatedRepoError):
        return f"{repo} asks for consent: give it on https://huggingface.co/{repo}, then run: hf auth login"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"there is no repository {repo} on Hugging Face, or it is private (then run: hf auth login)"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return f"{repo} is not in the cache, and HF_HUB_OFFLINE forbids to download it"
    if _is_unreachable(hub, error):
        return f"{repo} is not in the cache and Hugging Face cannot be reached; check the connection"
    first_line = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return f"{repo} cannot be downloaded: {first_line[:200]}"
