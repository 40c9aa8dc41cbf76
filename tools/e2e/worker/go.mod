module plimsoll.dev/tools/e2e/worker

go 1.21
