"""Damaged and hostile files for every reader: ``python -m fuzz --seconds N [READER …]``.

A reader may refuse a file, in one line of a :class:`compress.errors.CompressError`; it may not fail in another way, end
its process, go on for ever, or take gigabytes.

    corpus      small files of each kind, made by code
    mutations   what is done to them
    readers     which reader reads which kind
    campaign    inputs one after another, each within limits of time and memory, in a process that is used again
"""
