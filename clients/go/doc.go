// Package semel has a side effect happen once: across retries, crashes, replicas and languages.
//
//	client, err := semel.New(semel.Options{})
//	…
//	outcome, err := semel.Once(ctx, client, "payments/Charge", "order-42", semel.JSON(order),
//		func(ctx context.Context, attempt *semel.Attempt) (Receipt, error) {
//			return provider.Charge(ctx, order, attempt.Fence())
//		})
//
// Once asks a semel server whether the key has run. If not, it runs the work, renews its lease meanwhile, and stores what
// it returns; whoever calls with the same key afterwards, in any language, gets that value. An error says what became of the
// work, by its type; none is ever swallowed.
package semel
