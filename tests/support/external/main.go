// A stand-in for Terraform's provider hashicorp/external, for machines whose Go module proxy does not give it.
//
// It has the one data source with its arguments, and does with the program what the provider does: the query as JSON on stdin, stdout
// decoded by json.Unmarshal into a map of strings, stderr shown only if the program fails.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log"
	"os/exec"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

type external struct{}

func (external) Metadata(_ context.Context, _ provider.MetadataRequest, response *provider.MetadataResponse) {
	response.TypeName = "external"
}

func (external) Schema(context.Context, provider.SchemaRequest, *provider.SchemaResponse) {}

func (external) Configure(context.Context, provider.ConfigureRequest, *provider.ConfigureResponse) {}

func (external) Resources(context.Context) []func() resource.Resource { return nil }

func (external) DataSources(context.Context) []func() datasource.DataSource {
	return []func() datasource.DataSource{func() datasource.DataSource { return program{} }}
}

type program struct{}

type arguments struct {
	Program    []string          `tfsdk:"program"`
	WorkingDir types.String      `tfsdk:"working_dir"`
	Query      map[string]string `tfsdk:"query"`
	Result     types.Map         `tfsdk:"result"`
	ID         types.String      `tfsdk:"id"`
}

func (program) Metadata(_ context.Context, _ datasource.MetadataRequest, response *datasource.MetadataResponse) {
	response.TypeName = "external"
}

func (program) Schema(_ context.Context, _ datasource.SchemaRequest, response *datasource.SchemaResponse) {
	response.Schema = schema.Schema{Attributes: map[string]schema.Attribute{
		"program":     schema.ListAttribute{ElementType: types.StringType, Required: true},
		"working_dir": schema.StringAttribute{Optional: true},
		"query":       schema.MapAttribute{ElementType: types.StringType, Optional: true},
		"result":      schema.MapAttribute{ElementType: types.StringType, Computed: true},
		"id":          schema.StringAttribute{Computed: true},
	}}
}

func (program) Read(ctx context.Context, request datasource.ReadRequest, response *datasource.ReadResponse) {
	var a arguments
	response.Diagnostics.Append(request.Config.Get(ctx, &a)...)
	if response.Diagnostics.HasError() {
		return
	}
	result, message := run(ctx, a)
	if message != "" {
		response.Diagnostics.AddError("External Program Execution Failed", message)
		return
	}
	a.ID = types.StringValue("-")
	a.Result, _ = types.MapValueFrom(ctx, types.StringType, result)
	response.Diagnostics.Append(response.State.Set(ctx, &a)...)
}

func run(ctx context.Context, a arguments) (result map[string]string, message string) {
	if a.Query == nil {
		a.Query = map[string]string{}
	}
	query, err := json.Marshal(a.Query)
	if err != nil {
		return nil, err.Error()
	}
	var stdout, stderr bytes.Buffer
	command := exec.CommandContext(ctx, a.Program[0], a.Program[1:]...)
	command.Dir, command.Stdin, command.Stdout, command.Stderr = a.WorkingDir.ValueString(), bytes.NewReader(query), &stdout, &stderr
	if err := command.Run(); err != nil {
		return nil, "Error Message: " + stderr.String() + "\nState: " + err.Error()
	}
	if err := json.Unmarshal(stdout.Bytes(), &result); err != nil {
		return nil, "The data source received unexpected results: " + err.Error()
	}
	return result, ""
}

func main() {
	options := providerserver.ServeOpts{Address: "registry.terraform.io/hashicorp/external", ProtocolVersion: 5}
	if err := providerserver.Serve(context.Background(), func() provider.Provider { return external{} }, options); err != nil {
		log.Fatal(err)
	}
}
