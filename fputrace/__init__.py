"""fputrace: who held the FPU registers of each CPU, and what went wrong under KVM."""

__version__ = "0.1.0"
