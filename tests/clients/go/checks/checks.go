// Package checks is what the Go programs share: saying what was checked, and asking the runner for
// something.
package checks

import (
	"bufio"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Brief is how long the token of the renewal's check is good; it is waited for.
const Brief = 2 * time.Second

var (
	TenantA = number("TENANT_A")
	TenantB = number("TENANT_B")

	asking  sync.Mutex
	answers = bufio.NewScanner(os.Stdin)
)

func number(name string) int {
	n, err := strconv.Atoi(os.Getenv(name))
	Must(err)
	return n
}

func OK(check string, seen any) {
	fmt.Printf("ok %s: %s\n", check, strings.ReplaceAll(fmt.Sprint(seen), "\n", " "))
}

func None(check, why string) {
	fmt.Printf("none %s: %s\n", check, why)
}

func Ask(words ...any) string {
	asking.Lock()
	defer asking.Unlock()
	fmt.Print("ask ", fmt.Sprintln(words...))
	if !answers.Scan() {
		log.Fatal("the runner has gone")
	}
	return answers.Text()
}

// FetchToken stands for the program's own way to a token: its identity provider.
func FetchToken(tenant int) string {
	return Ask("token", tenant)
}

func BriefToken(tenant int) string {
	return Ask("token", tenant, int(Brief.Seconds()))
}

func Must(err error) {
	if err != nil {
		log.Panic(err)
	}
}

func Get[T any](value T, err error) T {
	Must(err)
	return value
}

func Equal[T comparable](got, wanted T) {
	if got != wanted {
		log.Panicf("got %v, wanted %v", got, wanted)
	}
}
