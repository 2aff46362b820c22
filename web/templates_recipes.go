package web

import (
	"time"

	"github.com/nats-io/jwt/v2"

	"chancery/claims"
	"chancery/issuer"
)

// recipe is a template to start from. The names in it stand for the reader's own.
type recipe struct {
	ID, Title, Text string
	make            func(p *jwt.UserPermissionLimits)
	tests           string
}

// recipes are the starts that are offered. What each promises is held against its
// capabilities by a test.
var recipes = []recipe{
	{"client", "Request/reply client", "Sends requests and gets the answers in an inbox.", func(p *jwt.UserPermissionLimits) {
		p.Pub.Allow, p.Sub.Allow = jwt.StringList{"svc.orders.>"}, jwt.StringList{"_INBOX.>"}
	}, "as app\ncan publish svc.orders.new\ncan subscribe _INBOX.x.*\ncannot publish svc.other\n"},
	{"responder", "Service responder", "Answers requests, and may publish nothing else.", func(p *jwt.UserPermissionLimits) {
		p.Sub.Allow = jwt.StringList{"svc.orders.>"}
		p.Resp = &jwt.ResponsePermission{MaxMsgs: 1, Expires: 5 * time.Second}
	}, "as app\ncan subscribe svc.orders.> workers\ncannot publish svc.orders.new\n"},
	{"private", "Client with a private inbox", "Nobody else in the account can read its answers.", func(p *jwt.UserPermissionLimits) {
		p.Pub.Allow, p.Sub.Allow = jwt.StringList{"svc.orders.>"}, jwt.StringList{"_INBOX_{{name()}}.>"}
	}, "as app\ncan subscribe _INBOX_app.x\ncannot subscribe _INBOX_other.x\n"},
	{"consumer", "JetStream consumer", "Reads a stream through consumers that exist, and acknowledges.", func(p *jwt.UserPermissionLimits) {
		p.Pub.Allow = jwt.StringList{"$JS.API.STREAM.INFO.ORDERS", "$JS.API.CONSUMER.INFO.ORDERS.*", "$JS.API.CONSUMER.MSG.NEXT.ORDERS.*", "$JS.ACK.ORDERS.>"}
		p.Sub.Allow = jwt.StringList{"_INBOX.>"}
	}, "as app\ncan publish $JS.API.CONSUMER.MSG.NEXT.ORDERS.c1\ncannot publish $JS.API.STREAM.DELETE.ORDERS\n"},
	{"kv-reader", "KV reader", "Reads and watches one key-value bucket.", func(p *jwt.UserPermissionLimits) {
		p.Pub.Allow = jwt.StringList{"$JS.API.STREAM.INFO.KV_cfg", "$JS.API.DIRECT.GET.KV_cfg.>", "$JS.API.STREAM.MSG.GET.KV_cfg", "$JS.API.CONSUMER.CREATE.KV_cfg.>", "$JS.API.CONSUMER.DELETE.KV_cfg.*"}
		p.Sub.Allow = jwt.StringList{"_INBOX.>"}
	}, "as app\ncan publish $JS.API.STREAM.INFO.KV_cfg\ncannot publish $KV.cfg.key\n"},
	{"kv-writer", "KV reader and writer", "Reads, watches and writes one key-value bucket.", func(p *jwt.UserPermissionLimits) {
		p.Pub.Allow = jwt.StringList{"$JS.API.STREAM.INFO.KV_cfg", "$JS.API.DIRECT.GET.KV_cfg.>", "$JS.API.STREAM.MSG.GET.KV_cfg", "$JS.API.CONSUMER.CREATE.KV_cfg.>", "$JS.API.CONSUMER.DELETE.KV_cfg.*", "$KV.cfg.>"}
		p.Sub.Allow = jwt.StringList{"_INBOX.>"}
	}, "as app\ncan publish $KV.cfg.key\ncannot publish $KV.other.key\n"},
	{"device", "Device, over MQTT too", "Has subjects of its own, by its name and its region.", func(p *jwt.UserPermissionLimits) {
		p.Pub.Allow = jwt.StringList{"devices.{{tag(region)}}.{{name()}}.>"}
		p.Sub.Allow = jwt.StringList{"cmd.{{name()}}.>", "_INBOX_{{name()}}.>", "$MQTT.sub.>", "$MQTT.deliver.pubrel.>"}
		p.AllowedConnectionTypes = jwt.StringList{jwt.ConnectionTypeStandard, jwt.ConnectionTypeMqtt}
	}, "as d1 region:eu\ncan publish devices.eu.d1.temp\ncannot publish devices.us.d1.temp\ncannot publish devices.eu.d2.temp\ncan subscribe cmd.d1.reboot\n"},
	{"readonly", "Read only", "Listens, and may publish nothing.", func(p *jwt.UserPermissionLimits) {
		p.Pub.Deny, p.Sub.Allow = jwt.StringList{">"}, jwt.StringList{"orders.>"}
	}, "as app\ncan subscribe orders.new\ncannot publish orders.new\n"},
}

// start returns the template to start from; without a recipe it is a blank one.
func start(id string) issuer.TemplateInput {
	in := issuer.TemplateInput{Body: claims.Template{Permissions: claims.NewPermissionLimits()}}
	for _, r := range recipes {
		if r.ID == id {
			r.make(&in.Body.Permissions)
			// The recipe's own text is read without fault: a test holds it.
			in.Tests, _ = parseTests(r.tests)
		}
	}
	return in
}
