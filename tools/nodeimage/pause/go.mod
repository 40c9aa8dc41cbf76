module plimsoll.dev/tools/nodeimage/pause

go 1.21
