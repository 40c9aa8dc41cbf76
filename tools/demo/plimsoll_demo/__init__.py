"""The demo: one story that shows the whole of Plimsoll at work on a real control plane.

`site` starts the cluster, the data centre and the operator; `scene` is what is seen of
them; `chapters` tells the story by changing only what users and the world change;
`screen` shows it, `comparison` sums it up.
"""
