package issuer

// edgeText is what is wrong with an edge, where CheckSharing does not say it, and how
// to put it right.
var edgeText = map[string]struct{ detail, fix string }{
	"exporter_unknown": {"The account to import from is not known here, so no server knows it.", "Look whether the public key is right; an account of this operator is made or adopted first."},
	"not_offered":      {"Nothing that can be told offers this subject to the importing account: the account to import from may not be there, or not export it, or not to this one.", "Ask whoever has the account to import from for its public key, the subject and, if need be, an activation token."},
	"other_operator":   {"The account to import from belongs to another operator: servers never know both.", "Share within one operator, or bridge the two with a leaf node."},
	"exporter_deleted": {"The account to import from is deleted.", "Delete the import."},
	"exporter_suspended": {
		"The account to import from is suspended: none of its clients is connected. Its JetStream streams still answer.",
		"Resume the account, or delete the import.",
	},
	"importer_suspended": {"The importing account is suspended: none of its clients is connected.", "Resume the account."},
	"import_cycle":       {"The import leads back to its own account, through others: a server drops the import that closes the circle.", "Delete one import of the circle, or give it another local subject."},
	"delivery_failed":    {"A server has refused, or has another version of, the JWT of one of the two accounts.", "Look at the deliveries of both accounts, and push them again."},

	"account_token":       {"", "Import the subject with the importer's public key at the account token position."},
	"token_required":      {"", "Share the subject again, or put an activation token of the exporter into the import."},
	"token_untrusted_key": {"", "Renew the activation: it is then signed by the current key."},
	"token_expired":       {"", "Renew the activation."},
	"token_not_yet_valid": {"", "Renew the activation, or change one of the two accounts once the token is valid."},
	"token_revoked":       {"", "Share the subject again, if the importer is to have it."},
	"wrong_kind":          {"", "Import it as what it is exported as."},
	"not_subset":          {"", "Import no more than is exported, or export more."},
	"no_export":           {"", "Export the subject, or delete the import."},
	"overlap":             {"", "Give one of the two imports another local subject."},
}

// ofExporter are the codes that tell of the exporter. Whoever neither sees it nor has a
// token of it is not told apart what is not there from what is not for them: else an
// import would be a way to ask about everybody's exports.
var ofExporter = map[string]bool{
	"exporter_unknown": true, "other_operator": true, "exporter_deleted": true, "exporter_suspended": true, "import_cycle": true,
	"account_token": true, "token_required": true, "token_untrusted_key": true, "token_revoked": true, "wrong_kind": true, "not_subset": true, "no_export": true,
}

// edgeProblem returns the problem of an edge with a code; detail replaces the text of
// the code's own.
func edgeProblem(code, detail string) *EdgeProblem {
	t := edgeText[code]
	if detail == "" {
		detail = t.detail
	}
	fix := t.fix
	if fix == "" {
		fix = "Change the import, or delete it."
	}
	return &EdgeProblem{Code: code, Detail: detail, Fix: fix}
}
