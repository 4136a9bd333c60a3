"""The compiled loops over lines of text, which the text reader in ``fputrace.parsers`` drives.

Here and not in ``parsers/``: Cython finds a ``.pxd`` only where the folder is the package, and in a
source distribution ``fputrace/parsers`` is no folder.
"""
