"""Measurements of the product, and its demo.

Map:
    __main__  `python -m bench NAME …`: which benches there are
    harness   figures, reports, tables, machine description
    demo/     the product's main job end to end, and the bench on top of it
"""
