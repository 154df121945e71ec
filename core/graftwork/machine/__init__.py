"""What this machine is and allows: devices, number formats, memory, control groups, compiling, torch's generator, the collector.

Knows no run and no data.
"""
