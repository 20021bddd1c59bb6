"""What runs inside SGLang's processes: the scheduler plugin and the CPU platform.

The only room that imports sglang.
"""
