"""A library for plugins whose rows are pictures: decode, look, audit, frames of many sizes, drawing.

Knows no task: what a picture is annotated with (a class, boxes, a mask) is a plugin's business.
"""
