// A replica of the story's workloads: it takes work from the office at WORK_URL, burns as much CPU
// time as the work says, and comes again. Its load is what the office has to give.
//
//	GET WORK_URL?replica=NAME&done=MILLISECONDS  ->  milliseconds of CPU time to burn; 0: none now
package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	pause   = time.Second
	timeout = 5 * time.Second
)

func main() {
	// One thread works, and its CPU time is what is measured.
	runtime.LockOSThread()
	office, name := os.Getenv("WORK_URL"), os.Getenv("HOSTNAME")
	fmt.Printf("%s works for %s\n", name, office)
	client := &http.Client{Timeout: timeout}
	done, failed := 0, false
	for {
		work, err := take(client, office, name, done)
		if (err != nil) != failed {
			failed = err != nil
			fmt.Printf("the office answers: %t (%v)\n", !failed, err)
		}
		if err == nil {
			done = 0
		}
		if work == 0 {
			time.Sleep(pause)
			continue
		}
		burn(time.Duration(work) * time.Millisecond)
		done += work
	}
}

func take(client *http.Client, office, name string, done int) (int, error) {
	query := url.Values{"replica": {name}, "done": {strconv.Itoa(done)}}
	answer, err := client.Get(office + "?" + query.Encode())
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("%s", answer.Status)
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, 16))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// burn uses so much CPU time of this thread, however long it takes.
func burn(amount time.Duration) {
	for end := used() + amount; used() < end; {
		for i := 0; i < 100_000; i++ {
			sink += i
		}
	}
}

var sink int

func used() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_THREAD, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
