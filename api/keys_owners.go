package api

import (
	"context"

	"chancery/issuer"
)

func (p OperatorPath) keys() issuer.KeyOwner { return issuer.KeyOwner{Operator: p.Operator} }

// OperatorKeyPath names a signing key of an operator.
type OperatorKeyPath struct {
	OperatorPath
	Key string `path:"key" maxLength:"64" doc:"The public key."`
}

type addOperatorKeyInput struct {
	OperatorPath
	Change
	Body SigningKeyInput
}

type setOperatorKeyInput struct {
	OperatorKeyPath
	Change
	Body KeyPatch `contentType:"application/merge-patch+json"`
}

type retireOperatorKeyInput struct {
	OperatorKeyPath
	Change
}

type compromiseOperatorKeyInput struct {
	OperatorKeyPath
	Change
	Body KeyReason
}

func (a *API) listOperatorKeys(ctx context.Context, by call, in *OperatorPath) (*paged[SigningKey], error) {
	return a.listKeys(ctx, by, in.keys())
}

func (a *API) getOperatorKey(ctx context.Context, by call, in *OperatorKeyPath) (*saved[SigningKey], error) {
	return a.getKey(ctx, by, in.keys(), in.Key)
}

func (a *API) addOperatorKey(ctx context.Context, by call, in *addOperatorKeyInput) (*created[ChangedKey], error) {
	return a.addKey(ctx, by, in.Change, in.keys(), in.Body)
}

func (a *API) setOperatorKey(ctx context.Context, by call, in *setOperatorKeyInput) (*saved[ChangedKey], error) {
	return a.setKey(ctx, by, in.Change, in.keys(), in.Key, in.Body)
}

func (a *API) retireOperatorKey(ctx context.Context, by call, in *retireOperatorKeyInput) (*saved[ChangedKey], error) {
	return a.setKey(ctx, by, in.Change, in.keys(), in.Key, KeyPatch{State: issuer.KeyRetired})
}

func (a *API) compromiseOperatorKey(ctx context.Context, by call, in *compromiseOperatorKeyInput) (*saved[ChangedKey], error) {
	return a.compromise(ctx, by, in.Change, in.keys(), in.Key, in.Body.Reason)
}

func (p AccountPath) keys() issuer.KeyOwner { return issuer.KeyOwner{Account: p.Account} }

// AccountKeyPath names a signing key of an account.
type AccountKeyPath struct {
	AccountPath
	Key string `path:"key" maxLength:"64" doc:"The public key."`
}

type addAccountKeyInput struct {
	AccountPath
	Change
	Body SigningKeyInput
}

type setAccountKeyInput struct {
	AccountKeyPath
	Change
	Body KeyPatch `contentType:"application/merge-patch+json"`
}

type retireAccountKeyInput struct {
	AccountKeyPath
	Change
}

type compromiseAccountKeyInput struct {
	AccountKeyPath
	Change
	Body KeyReason
}

func (a *API) listAccountKeys(ctx context.Context, by call, in *AccountPath) (*paged[SigningKey], error) {
	return a.listKeys(ctx, by, in.keys())
}

func (a *API) getAccountKey(ctx context.Context, by call, in *AccountKeyPath) (*saved[SigningKey], error) {
	return a.getKey(ctx, by, in.keys(), in.Key)
}

func (a *API) addAccountKey(ctx context.Context, by call, in *addAccountKeyInput) (*created[ChangedKey], error) {
	return a.addKey(ctx, by, in.Change, in.keys(), in.Body)
}

func (a *API) setAccountKey(ctx context.Context, by call, in *setAccountKeyInput) (*saved[ChangedKey], error) {
	return a.setKey(ctx, by, in.Change, in.keys(), in.Key, in.Body)
}

func (a *API) retireAccountKey(ctx context.Context, by call, in *retireAccountKeyInput) (*saved[ChangedKey], error) {
	return a.setKey(ctx, by, in.Change, in.keys(), in.Key, KeyPatch{State: issuer.KeyRetired})
}

func (a *API) compromiseAccountKey(ctx context.Context, by call, in *compromiseAccountKeyInput) (*saved[ChangedKey], error) {
	return a.compromise(ctx, by, in.Change, in.keys(), in.Key, in.Body.Reason)
}

func (p TemplatePath) keys() issuer.KeyOwner {
	return issuer.KeyOwner{Account: p.Account, Template: p.Template}
}

// TemplateKeyPath names a signing key of a template.
type TemplateKeyPath struct {
	TemplatePath
	Key string `path:"key" maxLength:"64" doc:"The public key."`
}

type addTemplateKeyInput struct {
	TemplatePath
	Change
	Body SigningKeyInput
}

type setTemplateKeyInput struct {
	TemplateKeyPath
	Change
	Body KeyPatch `contentType:"application/merge-patch+json"`
}

type retireTemplateKeyInput struct {
	TemplateKeyPath
	Change
}

type compromiseTemplateKeyInput struct {
	TemplateKeyPath
	Change
	Body KeyReason
}

func (a *API) listTemplateKeys(ctx context.Context, by call, in *TemplatePath) (*paged[SigningKey], error) {
	return a.listKeys(ctx, by, in.keys())
}

func (a *API) getTemplateKey(ctx context.Context, by call, in *TemplateKeyPath) (*saved[SigningKey], error) {
	return a.getKey(ctx, by, in.keys(), in.Key)
}

func (a *API) addTemplateKey(ctx context.Context, by call, in *addTemplateKeyInput) (*created[ChangedKey], error) {
	return a.addKey(ctx, by, in.Change, in.keys(), in.Body)
}

func (a *API) setTemplateKey(ctx context.Context, by call, in *setTemplateKeyInput) (*saved[ChangedKey], error) {
	return a.setKey(ctx, by, in.Change, in.keys(), in.Key, in.Body)
}

func (a *API) retireTemplateKey(ctx context.Context, by call, in *retireTemplateKeyInput) (*saved[ChangedKey], error) {
	return a.setKey(ctx, by, in.Change, in.keys(), in.Key, KeyPatch{State: issuer.KeyRetired})
}

func (a *API) compromiseTemplateKey(ctx context.Context, by call, in *compromiseTemplateKeyInput) (*saved[ChangedKey], error) {
	return a.compromise(ctx, by, in.Change, in.keys(), in.Key, in.Body.Reason)
}
