package resolver

import (
	"fmt"

	"chancery/claims"
	"chancery/store"
)

// changeTold puts the new JWT of an account into the log of events.
func (r *Resolver) changeTold(s store.Served) {
	r.events.append(claims.Event{
		Type: claims.EventChange, OperatorID: s.OperatorID, AccountID: s.AccountID, Version: s.Version, Text: fmt.Sprintf("Version %d of the account's JWT was signed.", s.Version),
	})
}

// deliveryTold puts how a delivery ended into the log of events. What lies between is
// many times as much, and is in the ledger.
func (r *Resolver) deliveryTold(accountID string, from claims.DeliveryState, d claims.Delivery) {
	text := ""
	switch d.State {
	case claims.DeliveryInEffect:
		text = "It is in effect."
	case claims.DeliveryNotLoaded:
		text = "The server has not loaded the account, and will fetch this version when a client comes."
	case claims.DeliveryFailed:
		text = "The server says: " + errorText(d.Error)
	default:
		return
	}
	if from == d.State && d.State.Satisfied() {
		text = fmt.Sprintf("Version %d. ", d.Version) + text
	}
	r.events.append(claims.Event{
		Type: claims.EventSync, OperatorID: r.memory.operatorOf(accountID), AccountID: accountID, Version: d.Version,
		Client: claims.Client{ServerID: d.ServerID, ServerName: d.ServerName}, Reason: string(d.State), Text: text,
	})
}
