"""Archives: `bundle.tar.gz` with `bundle.manifest.json` at its root (wire contract, "Bundles in the field").

base.py       what the others speak of: a fault of an archive, what an inspection found
names.py      which names every client can hold
unpacking.py  the bytes in a gzip file, within limits
tar.py        the members of a tar archive
tree.py       the folders, files and links that they make
manifest.py   the manifest: reading it
agreement.py  comparing it with the files, and with the release that it is for
inspect.py    reading an archive of strangers to its end, by all of these
sources.py    which files of a folder belong into an archive
build.py      an archive from a folder, always the same bytes
"""
