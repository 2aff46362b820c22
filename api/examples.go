package api

import (
	"encoding/json"
	"fmt"

	"github.com/danielgtaylor/huma/v2"
)

// Keys of nobody, for the examples.
const (
	exampleAccountKey = "AD7YRUYKEZ2YJPSKF5ARJ6H4T2Q6NB4AAF2D5SHNXBRRMA6ODNX32YKT"
	exampleUserKey    = "UDVMBCBNO4VCEHPU7BTHAZGND2TMRMTMHINE34SPWCK7I7QENA22ZXV7"
	exampleJWT        = "eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ.eyJqdGkiOiI1RkJXRlgzRkpDRTRGSUJVVVhTVTVTNVpNUE1NVlJXTlRYV1pOQUVaR1RNM0c1SlRBQkFRIiwiaWF0IjoxNzk1MjI2NjI4LCJpc3MiOiJBQ0NPRjJNVENVMzdCNUVLQjJURE5MNjRURkQ1UzJIQjdSWkROS1pBRkJNWVVMSkRYQVI0V0tVWiIsIm5hbWUiOiJkMSIsInN1YiI6IlVBQkI0VFpZUkJISUFYTkNRWjJFS1VRQ1pZQkJKWDJHMlVSTEpaN00yQUZaVEZZS1ZCTEpHTDRYIiwibmF0cyI6eyJwdWIiOnt9LCJzdWIiOnt9LCJpc3N1ZXJfYWNjb3VudCI6IkFBTzc3S0NLNzJaSlhaTVlMUjY1TUNHWE1QWUJNVkRGUUlETkpCWTJJSkkzWk5YRFVLMllNUU5KIiwidGFncyI6WyJyZWdpb246ZXUiXSwidHlwZSI6InVzZXIiLCJ2ZXJzaW9uIjoyfX0.hFqgChW0w33WUHTg-m7CJiBPWMSMnMP9BZnklrJ0NM0jOkW_b7I9i99a388MVKDUOOIHoJf-ecs3BzxxXQZnCw"

	exampleTemplate = `{"name":"sensor","description":"Devices in the field",
		"permissions":{"publish":{"allow":["devices.{{tag(region)}}.{{name()}}.>"]},"subscribe":{"allow":["commands.{{name()}}","_INBOX.>"]}},
		"max_ttl_seconds":2592000,
		"tests":[{"as":{"name":"d1","tags":["region:eu"]},"can_publish":["devices.eu.d1.temp"],"cannot_publish":["devices.us.d1.temp"],"can_subscribe":["commands.d1"]}]}`
	exampleSharedTemplate = `{"name":"observer","permissions":{"publish":{"deny":[">"]},"subscribe":{"allow":["{{account-name()}}.>"]}}}`
)

// examples has a body for each operation that takes one, as it appears in the
// contract. A test sends every one of them.
var examples = map[string]string{
	"verifyAudit": `{"checkpoints":[]}`,

	"createOperator":        `{"name":"acme-eu","custody":"sealed","service_urls":["nats://n1.acme.example:4222"],"policy":{"credential_max_ttl_seconds":7776000,"no_bearer":true}}`,
	"updateOperator":        `{"service_urls":["tls://n1.acme.example:4222","tls://n2.acme.example:4222"],"policy":{"renewal_percent":33}}`,
	"uploadOperatorJWT":     `{"jwt":"` + exampleJWT + `"}`,
	"setSigning":            `{"enabled":false,"reason":"A laptop with an API token is missing."}`,
	"setOperatorGuardrails": `{"credential_max_ttl_seconds":2592000,"no_bearer":true,"required_account_tags":["team"],"quotas":{"accounts":100,"users_per_account":1000,"total_jetstream_disk_bytes":1099511627776}}`,
	"runImportJob":          `{"mode":"observe","plan_hash":"sha256:5c1e","reason":"We leave the laptop of the one who ran nsc."}`,
	"pushAgain":             `{"accounts":["ORDERS"],"reason":"A server was restored from a backup."}`,
	"setEnrolmentPolicy":    `{"mode":"token","limits":"team"}`,
	"approveEnrolment":      `{"reason":"Ticket 4711."}`,
	"refuseEnrolment":       `{"reason":"Nobody knows them."}`,
	"addOperatorKey":        `{"make_current":false}`,
	"setOperatorKey":        `{"state":"disabled","reason":"It was prepared by mistake."}`,
	"compromiseOperatorKey": `{"reason":"The seed was in a backup that got lost."}`,

	"createAccount":        `{"name":"BILLING","operator":"acme","preset":"team","tags":["team:billing"],"limits":{"connections":500},"jetstream":{"enabled":true,"tiers":{"R3":{"disk_bytes":107374182400,"memory_bytes":0,"streams":50}}}}`,
	"updateAccount":        `{"limits":{"connections":1000},"tags":["team:orders","env:prod"],"default_permissions":{"publish":{"deny":["admin.>"]}},"mappings":[{"source":"orders.*","destinations":[{"subject":"orders.v2.$1","weight":10}]}],"lifetime_seconds":2592000}`,
	"cloneAccount":         `{"name":"ORDERS-STAGING"}`,
	"setAccountGuardrails": `{"credential_max_ttl_seconds":604800,"required_user_tags":["team"],"subject_prefixes":["orders.","inboxes"],"quotas":{"users_per_account":100}}`,
	"suspendAccount":       `{"reason":"The contract has ended."}`,
	"addAccountKey":        `{"retire_previous_after_seconds":1209600}`,
	"setAccountKey":        `{"state":"disabled","reason":"A drill."}`,
	"compromiseAccountKey": `{"reason":"The seed was in a backup that got lost."}`,

	"createTemplate":           exampleTemplate,
	"updateTemplate":           `{"max_ttl_seconds":604800}`,
	"cloneTemplate":            `{"name":"device-2"}`,
	"previewTemplate":          `{"as":{"name":"d1","tags":["region:eu","region:us"]}}`,
	"previewNewTemplate":       `{"template":` + exampleTemplate + `,"as":{"name":"d1","tags":["region:eu"]}}`,
	"addTemplateKey":           `{"make_current":true,"retire_previous_after_seconds":1209600}`,
	"setTemplateKey":           `{"state":"disabled","reason":"A drill."}`,
	"compromiseTemplateKey":    `{"reason":"The seed was in a backup that got lost."}`,
	"createSharedTemplate":     exampleSharedTemplate,
	"updateSharedTemplate":     `{"description":"Who only looks on."}`,
	"cloneSharedTemplate":      `{"name":"service-2"}`,
	"previewSharedTemplate":    `{"as":{"name":"d1","account":"ORDERS"}}`,
	"previewNewSharedTemplate": `{"template":` + exampleSharedTemplate + `,"as":{"name":"d1","account":"ORDERS"}}`,

	"createUser":        `{"name":"d2","template":"device","tags":["region:eu"],"ttl_seconds":604800}`,
	"updateUser":        `{"tags":["region:us"]}`,
	"disableUser":       `{"reason":"On leave."}`,
	"issueCredential":   `{"ttl_seconds":604800,"delivery":"one_time_link","delivered_to":"ada@example.com"}`,
	"renewCredential":   `{"ttl_seconds":604800}`,
	"rollCredential":    `{"grace_seconds":86400}`,
	"reissueCredential": `{"reason":"The device was repaired elsewhere."}`,
	"createChallenge":   `{"public_key":"` + exampleUserKey + `"}`,
	"renewByHolder":     `{"jwt":"` + exampleJWT + `","nonce":"AAAAAGkgWQ…","signature":"3q2-7w…"}`,
	"useCredentialLink": `{"link":"chy_cred_…"}`,
	"revoke":            `{"before":"now","reason":"laptop lost"}`,

	"createExport":    `{"name":"paid","kind":"stream","subject":"orders.paid.>","access":"activation"}`,
	"updateExport":    `{"description":"Every order that was paid."}`,
	"issueActivation": `{"target_account":"` + exampleAccountKey + `","ttl_seconds":31536000}`,
	"createImport":    `{"exporter":"` + exampleAccountKey + `","kind":"stream","subject":"invoices.>","local_subject":"in.invoices.>"}`,
	"updateImport":    `{"local_subject":"in.shared.>"}`,
	"renewImport":     `{"ttl_seconds":31536000}`,
	"share":           `{"exporter":"ORDERS","importer":"SHIPPING","kind":"stream","subject":"orders.shipped.>","local_subject":"in.orders.shipped.>","access":"activation","ttl_seconds":31536000}`,
	"createToken":     `{"name":"device-provisioning","grants":[{"role":"issuer","account":"ORDERS","template":"device"}],"ttl_seconds":2592000,"networks":["10.0.0.0/8","2001:db8::/32"]}`,
	"createPerson":    `{"name":"ada@acme.example","grants":[{"role":"account_admin","account":"ORDERS"}]}`,
	"updatePerson":    `{"grants":[{"role":"auditor","operator":"acme"}],"reason":"Moved to another team."}`,

	"decideDrift":      `{"decision":"keep","reason":"Nobody knows who pushed it."}`,
	"inspect":          `{"jwt":"` + exampleJWT + `"}`,
	"explain":          `{"jwt":"` + exampleJWT + `","host":"10.2.3.4","type":"STANDARD"}`,
	"checkPermissions": `{"op":"publish","subject":"devices.eu.d1.temp"}`,
}

// exemplify puts the example of an operation into the contract.
func exemplify(doc *huma.OpenAPI, r route) {
	text, ok := examples[r.id]
	if !ok {
		return
	}
	var example any
	if err := json.Unmarshal([]byte(text), &example); err != nil {
		panic(fmt.Sprintf("the example of %s is no JSON: %v", r.id, err)) // a mistake in this file
	}
	item := doc.Paths[Base+r.path]
	for _, op := range []*huma.Operation{item.Post, item.Put, item.Patch} {
		if op == nil || op.OperationID != r.id || op.RequestBody == nil {
			continue
		}
		for kind, media := range op.RequestBody.Content {
			if kind != ndjson {
				media.Example = example
			}
		}
	}
}
