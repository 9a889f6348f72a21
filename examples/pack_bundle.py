#!/usr/bin/env python3
"""Pack a folder as a bundle, for a build pipeline: standard library only, and the same files give the same bytes.

    pack_bundle.py FOLDER BUNDLE_TYPE SCOPE_ID VERSION [EXPERT ...] > bundle.tar.gz

BUNDLE_TYPE is app_agents (SCOPE_ID core), experts_shared (shared), experts (the expert's id) or chapter
({course id}/{chapter code}; its EXPERTs are those that it needs). A chapter's folder has prompts/chapter_context.md,
prompts/task_list.md and prompts/task_completion_principles.md.

It holds all files in memory. For large folders, `manage.py publish_bundle` makes the same and streams.
"""

import gzip
import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path
from typing import Any, BinaryIO

CREATED_AT = "2026-01-01T00:00:00Z"  # fixed: a time of day would change the bytes with every run


def read_files(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def make_manifest(
    files: dict[str, bytes], bundle_type: str, scope_id: str, version: str, experts: list[str]
) -> dict[str, Any]:
    """Say what the bundle is and what is in it; `min_desktop_version` and `min_sidecar_version` may be added."""
    manifest: dict[str, Any] = {
        "format_version": "bundle-v2",
        "bundle_type": bundle_type,
        "scope_id": scope_id,
        "version": version,
        "created_at": CREATED_AT,
        "files": [
            {"path": name, "sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
            for name, data in files.items()
        ],
    }
    if bundle_type == "chapter":
        code = scope_id.rpartition("/")[2]
        manifest["chapter"] = {
            "chapter_code": code,
            "title": code,
            "has_scripts": any(name.startswith("scripts/") for name in files),
            "has_datasets": any(name.startswith("datasets/") for name in files),
            "required_experts": experts,
        }
    return manifest


def write_archive(target: BinaryIO, files: dict[str, bytes]) -> None:
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=target, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def main(arguments: list[str]) -> int:
    if len(arguments) < 4 or not Path(arguments[0]).is_dir():
        print(__doc__, file=sys.stderr)
        return 2
    folder, bundle_type, scope_id, version, *experts = arguments
    files = read_files(Path(folder))
    manifest = make_manifest(files, bundle_type, scope_id, version, experts)
    write_archive(sys.stdout.buffer, {"bundle.manifest.json": json.dumps(manifest, indent=2).encode(), **files})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
