"""The runtimes of containers, and what they say: names, images and pods.

``ask`` is the entry. It asks only the runtimes whose containers have processes, each within a time
and a size. ``oomrules.processes.containers`` knows the containers themselves, from their control
groups.
"""
