// Package web is the console: server-rendered pages with which people use
// Chancery in a browser.
//
// It owns the pages, their one script and one stylesheet, the sessions of people
// and what a browser is told to allow: a Content-Security-Policy without inline
// code, and no request from another site. Every page and every action works with
// JavaScript off; the script only adds comfort. A change is previewed by a dry run,
// applied, and shown with what each nats-server made of it.
//
// It refuses to hold a rule: what is allowed and valid is decided by issuer, whose
// errors become pages in one place. It never calls store, never loads anything from
// another host and never repeats a private key that was typed into a field.
//
// A page is a handler in the route table, a view model in the file of its noun, and
// a template of the same name. Forms, plans, secrets and delivery tables have one
// component each, a Go type and a template, that all pages share.
//
// Called by cmd/chancery, which mounts Handler at / and hands over the issuer, the
// session rows and the picture of the running servers.
package web
