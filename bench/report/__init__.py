"""A run as it is read: the same sections, in the same order, on a terminal and on a page.

`sections` decides what is said, `goals` what it is held against, `plots/` what is drawn; `terminal`
and `page` only lay it out.
"""
