// Package e2e drives the built binary with a real browser, as a person would.
//
// It owns a module of its own, so that what drives a browser stays out of the
// dependencies of Chancery; it imports nothing of ours and knows the binary, its
// JSON and its pages only. It refuses to reach anything but this machine: every
// other name is unknown to the browser, and a request to one fails the test.
//
// Called by `make test`. Without Chromium the test is skipped with a loud line, and
// fails when CI=true. With CHANCERY_SCREENSHOTS set to a folder it leaves the
// pictures of the pages there.
package e2e
