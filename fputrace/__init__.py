"""fputrace: who held the FPU registers of each CPU, and what went wrong under KVM."""
