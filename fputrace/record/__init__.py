"""Recording what the rules need on the running kernel: describe it, plan, write commands, do it.

``kernel`` reads what this kernel offers, ``plan`` chooses from it as plain data, ``commands`` says
a plan in the words of trace-cmd, perf and the shell, ``live`` carries one out and ``sidecar``
writes down what no recording holds.
"""
