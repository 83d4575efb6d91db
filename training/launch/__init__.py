"""Starting the ranks of a training run, watching over them, and ending them.

Two launchers, torchrun and Ray Train, start one and the same rank program. A launcher is a command
line: what runs is a process of this machine (`training.launch.host`), with the ranks below it or,
on a Ray cluster, anywhere. Whether a run went well is read from its folder, not from exit codes.
"""
