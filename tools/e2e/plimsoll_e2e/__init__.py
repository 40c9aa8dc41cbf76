"""The end-to-end story: real VMs on libvirt hosts, under a real control plane.

`stage` starts hosts, control plane, metrics server and operator; `office` gives the containers
work; `chapters` tells the story by changing only what users and the world change, and holds every
claim against what libvirt, kubelet and the API server say themselves (`facts`).
"""
