"""The vocabulary: what a trigger, a condition, a tracker and an event model are.

This room imports nothing else of pgmagic but its errors. What a declaration cannot do by itself (be compiled,
be installed) it asks of the services in `declare.doors`, which the public packages supply.
"""
